# Made by: build/bin/bench plot kv docs/data/kv.jsonl --out=docs/figures
# from what was measured by: build/bin/bench run @bench/kv.txt --format=jsonl >docs/data/kv.jsonl
set terminal svg size 860,520 font 'DejaVu Sans,13' background 'white'
set output 'kv_forms.svg'
set label 1000 'bench plot kv; docs/data/kv.jsonl; AMD EPYC, 2 threads' at screen 0.01,0.02 font ',9' textcolor rgb '#777777'
set bmargin 5
set border 3
set tics nomirror
set grid ytics lc rgb '#dddddd'
unset key
set title 'Naive or absorbed? Attention of one decoded token, 128 heads, one layer'
set logscale x 2
set logscale y
set xlabel 'context, tokens'
set ylabel 'ms'
set yrange [0.001:2000]
set xrange [50:20000]
set format x '%.0f'
set key bottom right
$absorbed << EOD
64 0.213493942 0.210857563 0.224019116 0.0386835361
128 0.298285922 0.291808828 0.327942047 0.0764275544
256 0.50078359 0.470837602 0.521524506 0.150846819
512 0.803934647 0.779010451 0.809008824 0.302775641
1024 1.53635054 1.45730557 1.581937 0.640062681
2048 3.125429 2.96605617 3.17715892 1.33037668
4096 7.368377 6.9757352 7.695786 2.46671883
8192 13.1873985 13.0066755 13.330831 6.45225153
16384 29.528079 29.167454 29.763688 10.3970306
EOD
$fp8 << EOD
1024 1.82616276 1.81490943 1.86231776 0.603360352
4096 7.4845912 7.3531704 7.912439 2.42565205
16384 32.038028 31.467212 32.455295 9.71803774
EOD
$naive << EOD
64 1.96064986 1.903071 2.1112065 0.181241068
128 1.86963374 1.85995305 1.92401063 0.336412755
256 3.04063 3.02234625 3.08441983 0.57308459
512 10.681843 9.90940167 11.3123403 1.06339608
1024 18.634839 18.568221 21.162534 1.638041
2048 31.871391 29.426137 32.975396 4.76276335
4096 100.824691 78.444323 104.854602 7.69434368
EOD
$anew << EOD
64 13.9683572
128 25.8850483
256 51.0714592
512 106.743501
1024 210.758156
2048 416.118025
4096 869.317958
EOD
plot $absorbed using 1:2:3:4 with yerrorlines pt 7 ps 0.6 lw 2 lc rgb '#d95f02' title 'absorbed, BF16 cache', \
     $absorbed using 1:5 with lines dt 3 lc rgb '#d95f02' title 'its limit on this machine', \
     $fp8 using 1:2:3:4 with yerrorlines pt 7 ps 0.6 lw 2 lc rgb '#e6ab02' title 'absorbed, FP8 rows', \
     $naive using 1:2:3:4 with yerrorlines pt 7 ps 0.6 lw 2 lc rgb '#444444' title 'naive, keys and values cached', \
     $naive using 1:5 with lines dt 3 lc rgb '#444444' title 'its limit', \
     $anew using 1:2 with linespoints pt 6 ps 0.6 lw 2 lc rgb '#7570b3' title 'naive, made anew from the latents'
set terminal pngcairo size 860,520 font 'DejaVu Sans,11' background 'white'
set output 'kv_forms.png'
replot
