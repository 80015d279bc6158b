# Made by: build/bin/bench plot kv docs/data/kv.jsonl --out=docs/figures
# from what was measured by: build/bin/bench run @bench/kv.txt --format=jsonl >docs/data/kv.jsonl
set terminal svg size 860,520 font 'DejaVu Sans,13' background 'white'
set output 'kv_roofline.svg'
set label 1000 'bench plot kv; docs/data/kv.jsonl; AMD EPYC, 2 threads' at screen 0.01,0.02 font ',9' textcolor rgb '#777777'
set bmargin 5
set border 3
set tics nomirror
set grid ytics lc rgb '#dddddd'
unset key
set title 'One decode step over 4096 keys beside the roofs of this machine'
set logscale xy
set xlabel 'operations for each byte of the cache and the rest'
set ylabel 'GFLOP/s'
set xrange [0.5:1000]
set yrange [1:1500]
set key bottom right
bf16 = 467.856993
f32 = 231.687351
memory = 47.6600501
$queries1 << EOD
1.88791104 10.0776355 1
3.77407936 16.5342259 2
7.54119743 31.3537838 4
15.0546267 54.7100918 8
29.9987917 84.2822736 16
59.5605645 107.005456 32
117.410703 155.470356 64
228.266192 154.830662 128
EOD
$queries2 << EOD
3.77407936 16.2754311 1
7.54119743 34.4194493 2
15.0546267 54.4687042 4
29.9987917 84.537905 8
59.5605645 111.014726 16
117.410703 140.531024 32
228.266192 177.033224 64
432.391331 198.746001 128
EOD
$naive << EOD
0.999754346 3.3279975
EOD
min(a, b) = a < b ? a : b
plot min(bf16, memory*x) lw 2 lc rgb '#222222' title 'BF16 pairs, and memory', \
     min(f32, memory*x) dt 2 lw 2 lc rgb '#888888' title 'binary32', \
     $queries1 using 1:2 with linespoints pt 7 ps 0.7 lc rgb '#d95f02' title 'absorbed, one query', \
     '' using 1:2:3 with labels offset -1,0.7 font ',10' textcolor rgb '#d95f02' notitle, \
     $queries2 using 1:2 with linespoints pt 6 ps 0.8 lc rgb '#1f78b4' title 'absorbed, two queries', \
     $naive using 1:2 with points pt 5 lc rgb '#444444' title 'naive, 128 heads, keys and values cached'
set terminal pngcairo size 860,520 font 'DejaVu Sans,11' background 'white'
set output 'kv_roofline.png'
replot
