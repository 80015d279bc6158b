# Made by: build/bin/bench plot balance docs/data/balance.jsonl --out=docs/figures
# from what was measured by: bench/studies.sh balance >docs/data/balance.jsonl
set terminal svg size 860,520 font 'DejaVu Sans,13' background 'white'
set output 'balance_devices.svg'
set label 1000 'bench plot balance; docs/data/balance.jsonl; avx512' at screen 0.01,0.02 font ',9' textcolor rgb '#777777'
set bmargin 5
set border 3
set tics nomirror
set grid ytics lc rgb '#dddddd'
unset key
$devices << EOD
"none" 3.5485 1.7346 1.0499 1.0788
"auxiliary loss" 1.2278 1.0271 1.0147 1.0096
"bias, u = 0.0001" 3.2193 1.7999 1.0523 1.0400
"bias, u = 0.001" 1.1383 1.0282 1.0140 1.0133
"bias, u = 0.01" 1.1702 1.0133 1.0114 1.0071
EOD
set title 'Eight devices, four experts each: the most loaded one over the mean (worst layer)'
set style data histograms
set style histogram clustered gap 1.2
set style fill solid 0.9
set yrange [1:*]
set xrange [-0.6:4.6]
set ylabel '1: even'
set key top right
plot $devices using 2:xtic(1) lc rgb '#bbbbbb' title 'experts in their order', \
     $devices using 3 lc rgb '#a6cee3' title 'packed anew', \
     $devices using 4 lc rgb '#1f78b4' title 'and 8 replicas', \
     $devices using 5 lc rgb '#08306b' title 'and 16 replicas'
set terminal pngcairo size 860,520 font 'DejaVu Sans,11' background 'white'
set output 'balance_devices.png'
replot
