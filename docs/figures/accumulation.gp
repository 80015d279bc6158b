# Made by: build/bin/bench plot accumulation docs/data/accumulation.jsonl --out=docs/figures
# from what was measured by: build/bin/bench accumulation --format=jsonl >docs/data/accumulation.jsonl
set terminal svg size 860,520 font 'DejaVu Sans,13' background 'white'
set output 'accumulation.svg'
set label 1000 'bench plot accumulation; docs/data/accumulation.jsonl; sums of the unit, emulated bit for bit' at screen 0.01,0.02 font ',9' textcolor rgb '#777777'
set bmargin 5
set border 3
set tics nomirror
set grid ytics lc rgb '#dddddd'
unset key
set title 'FP8 products by Hopper''s wgmma, positive numbers: errors of the sum of k of them'
set logscale x 2
set logscale y
set format y '10^{%T}'
set xrange [*:16384]
set yrange [1e-08:1]
set rmargin 22
set xlabel 'k, products in a sum'
set ylabel 'error over the exact sum: the largest, down to the median'
$unit << EOD
32 0.0001169 3.597e-05
64 0.0006645 0.0001121
128 0.001259 0.0005626
256 0.003096 0.001929
512 0.007501 0.005772
1024 0.01734 0.01506
2048 0.038 0.0349
4096 0.07915 0.07452
8192 0.1493 0.1443
16384 0.2572 0.251
EOD
set label 'the unit alone' at 16384,0.2572 offset 1,0 textcolor rgb '#d95f02'
$promoted << EOD
32 0.0001169 3.597e-05
64 0.0006645 0.0001121
128 0.001259 0.0005626
256 0.001124 0.0005562
512 0.0008585 0.0005536
1024 0.0007715 0.0005484
2048 0.0006974 0.0005505
4096 0.0006568 0.0005495
8192 0.0006418 0.0005507
16384 0.0005992 0.0005512
EOD
set label 'promoted every 128' at 16384,0.0005992 offset 1,0 textcolor rgb '#1f78b4'
$binary32 << EOD
32 5.871e-08 1e-08
64 5.996e-08 1e-08
128 8.848e-08 1e-08
256 1.127e-07 1e-08
512 1.602e-07 2.001e-08
1024 2.35e-07 3.772e-08
2048 5.017e-07 6.544e-08
4096 6.73e-07 1.163e-07
8192 1.329e-06 2.242e-07
16384 2.603e-06 4.486e-07
EOD
set label 'binary32' at 16384,2.603e-06 offset 1,0 textcolor rgb '#444444'
plot $unit using 1:3:2 with filledcurves fs transparent solid 0.15 noborder lc rgb '#d95f02', \
     '' using 1:2 with linespoints pt 7 ps 0.5 lw 2 lc rgb '#d95f02', \
     $promoted using 1:3:2 with filledcurves fs transparent solid 0.15 noborder lc rgb '#1f78b4', \
     '' using 1:2 with linespoints pt 7 ps 0.5 lw 2 lc rgb '#1f78b4', \
     $binary32 using 1:3:2 with filledcurves fs transparent solid 0.15 noborder lc rgb '#444444', \
     '' using 1:2 with linespoints pt 7 ps 0.5 lw 2 lc rgb '#444444'
set terminal pngcairo size 860,520 font 'DejaVu Sans,11' background 'white'
set output 'accumulation.png'
replot
