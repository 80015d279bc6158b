# Made by: build/bin/bench plot experts docs/data/experts.jsonl --out=docs/figures
# from what was measured by: build/bin/bench run @bench/experts.txt --format=jsonl >docs/data/experts.jsonl
set terminal svg size 860,520 font 'DejaVu Sans,13' background 'white'
set output 'experts_tokens.svg'
set label 1000 'bench plot experts; docs/data/experts.jsonl; AMD EPYC, 2 threads' at screen 0.01,0.02 font ',9' textcolor rgb '#777777'
set bmargin 5
set border 3
set tics nomirror
set grid ytics lc rgb '#dddddd'
unset key
$BF16 << EOD
1 0.7684 0.7535 0.7759
2 0.8736 0.8592 0.8977
4 0.8647 0.8395 0.8833
8 0.6044 0.4188 0.6589
16 0.7431 0.6301 0.7676
32 0.7026 0.694 0.7228
64 0.7605 0.7455 0.7669
128 0.8703 0.8385 0.8834
256 0.7983 0.7728 0.812
512 0.8336 0.8063 0.8458
EOD
$FP8 << EOD
1 0.9744 0.9315 0.9877
2 0.7818 0.7109 0.7897
4 0.6345 0.574 0.6407
8 0.6118 0.5458 0.6207
16 0.4215 0.2632 0.4404
32 0.5187 0.4748 0.5506
64 0.6354 0.6148 0.6424
128 0.7189 0.7156 0.7235
256 0.773 0.7701 0.7732
512 0.7715 0.7349 0.7932
EOD
$none << EOD
0.5212 0.7071 0.04861
1.042 1.414 0.04514
2.085 2.828 0.03819
4.17 5.657 0.06597
8.34 11.31 0.05556
16.68 22.63 0.0625
33.36 45.25 0.1389
66.72 90.51 0.1285
133.4 181 0.125
266.9 362 0.1146
533.7 724.1 0.1042
1067 1448 0.07292
EOD
$bias << EOD
90.51 122.8 0.003472
181 245.6 0.4861
362 491.1 0.5104
EOD
set title 'One projection of an expert (7168 to 2048) by the tokens that it gets'
set logscale x 2
set xrange [0.45:2900]
set yrange [-0.62:1.05]
set xlabel 'tokens of the expert'
set ylabel 'fraction of the limit of the same minute' offset 0,3
set xtics ('none' 0.64, '1' 1, '2' 2, '4' 4, '8' 8, '16' 16, '32' 32, '64' 64, '128' 128, '256' 256, '512' 512, '1024' 1024, '2048' 2048)
set ytics ('0' 0, '0.2' 0.2, '0.4' 0.4, '0.6' 0.6, '0.8' 0.8, '1' 1, '0 %%' -0.6, '40 %%' -0.4, '80 %%' -0.2)
set style fill solid 0.8 noborder
set arrow from graph 0, first 0 to graph 1, first 0 nohead lc rgb '#999999'
set label 'experts of trainings with so many tokens of a step (mean 256):' at 0.5,-0.07 font ',10'
set label 'not balanced' at 0.5,-0.14 font ',10' textcolor rgb '#777777'
set label 'biases, u >= 0.001' at 4,-0.14 font ',10' textcolor rgb '#66a61e'
set label 'weights in BF16' at 640,0.864 textcolor rgb '#1f78b4'
set label 'in FP8' at 640,0.741 textcolor rgb '#d95f02'
plot $none using 1:(-0.6):1:2:(-0.6):(-0.6+0.5*$3) with boxxyerror lc rgb '#999999', \
     $bias using 1:(-0.6):1:2:(-0.6):(-0.6+0.5*$3) with boxxyerror lc rgb '#66a61e', \
     $BF16 using 1:2:3:4 with yerrorlines pt 7 ps 0.7 lw 2 lc rgb '#1f78b4', \
     $FP8 using 1:2:3:4 with yerrorlines pt 7 ps 0.7 lw 2 lc rgb '#d95f02'
set terminal pngcairo size 860,520 font 'DejaVu Sans,11' background 'white'
set output 'experts_tokens.png'
replot
