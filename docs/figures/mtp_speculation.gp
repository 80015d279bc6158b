# Made by: build/bin/bench plot speculation docs/data/speculation.jsonl --out=docs/figures
# from what was measured by: bench/studies.sh speculation >docs/data/speculation.jsonl
set terminal svg size 860,520 font 'DejaVu Sans,13' background 'white'
set output 'mtp_speculation.svg'
set label 1000 'bench plot speculation; docs/data/speculation.jsonl; avx512' at screen 0.01,0.02 font ',9' textcolor rgb '#777777'
set bmargin 5
set border 3
set tics nomirror
set grid ytics lc rgb '#dddddd'
unset key
set title 'What drafts gain: a DeepSeek-V3 of docs/studies.md, and the real one'
set xrange [-0.15:2.95]
set yrange [0:3.1]
set xlabel 'modules that draft'
set ylabel 'times as fast'
set xtics 1
set arrow from graph 0, first 1 to graph 1, first 1 nohead dt 2 lc rgb '#999999'
$tokens << EOD
0 1 1 1
1 1.895 1.853 1.929
2 2.722 2.676 2.761
EOD
set label 'tokens a call' at 2.06,2.762 textcolor rgb '#1f78b4'
$operations << EOD
0 1 1 1
1 1.438 1.406 1.464
2 1.664 1.636 1.687
EOD
set label 'less operations of drafts' at 2.06,1.664 textcolor rgb '#7570b3'
$model << EOD
0 1 1 1
1 0.9027 0.8167 1.048
2 0.7372 0.7254 0.7555
EOD
set label 'less what calls cost here' at 2.06,0.837 textcolor rgb '#888888'
$gained << EOD
0 1 1 1
1 0.9028 0.8167 1.048
2 0.7373 0.7254 0.7556
EOD
set label 'measured' at 2.06,0.637 textcolor rgb '#d95f02'
$published << EOD
1.1 1.800
EOD
$quoted << EOD
1.1 1.800 1.772 1.820
EOD
set label 'DeepSeek-V3, published: 1.8' at 1.16,1.860 font ',10'
set label 'by its operations: 1.77 to 1.82' at 1.16,1.740 font ',10'
plot $tokens using 1:2:3:4 with yerrorlines pt 7 ps 0.6 lw 2 lc rgb '#1f78b4', \
     $operations using 1:2:3:4 with yerrorlines pt 7 ps 0.6 lw 2 dt 3 lc rgb '#7570b3', \
     $model using 1:2:3:4 with yerrorlines pt 7 ps 0.9 lw 4 lc rgb '#bbbbbb', \
     $gained using 1:2:3:4 with yerrorlines pt 7 ps 0.6 lw 2 lc rgb '#d95f02', \
     $quoted using 1:2:3:4 with yerrorbars pt -1 lw 2 lc rgb '#222222', \
     $published using 1:2 with points pt 6 ps 1.4 lw 1.5 lc rgb '#222222'
set terminal pngcairo size 860,520 font 'DejaVu Sans,11' background 'white'
set output 'mtp_speculation.png'
replot
