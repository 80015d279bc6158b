# Made by: build/bin/bench plot mtp docs/data/mtp.jsonl --out=docs/figures
# from what was measured by: bench/studies.sh mtp >docs/data/mtp.jsonl
set terminal svg size 860,520 font 'DejaVu Sans,13' background 'white'
set output 'mtp_temperature.svg'
set label 1000 'bench plot mtp; docs/data/mtp.jsonl; avx512' at screen 0.01,0.02 font ',9' textcolor rgb '#777777'
set bmargin 5
set border 3
set tics nomirror
set grid ytics lc rgb '#dddddd'
unset key
$rates << EOD
0.25 0.8570 0.8465 0.8235
0.5 0.8602 0.8507 0.7544
0.7 0.8632 0.8544 0.6959
1 0.8660 0.8582 0.6114
1.5 0.8660 0.8592 0.4772
EOD
set title 'Drafts accepted when the main model samples, by temperature (no sampling noise)'
set xrange [0:1.6]
set yrange [0:1]
set xlabel 'temperature'
set ylabel 'share of drafts'
set key bottom left
plot $rates using 1:2 with linespoints pt 7 lw 2 lc rgb '#d95f02' title 'depth 1, sampled', \
     '' using 1:3 with linespoints pt 7 lw 2 lc rgb '#1f78b4' title 'depth 2, sampled', \
     '' using 1:4 with linespoints pt 6 lw 2 dt 2 lc rgb '#d95f02' title 'depth 1, always its largest'
set terminal pngcairo size 860,520 font 'DejaVu Sans,11' background 'white'
set output 'mtp_temperature.png'
replot
