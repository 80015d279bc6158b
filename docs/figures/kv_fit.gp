# Made by: build/bin/bench plot kv docs/data/kv.jsonl --out=docs/figures
# from what was measured by: build/bin/bench run @bench/kv.txt --format=jsonl >docs/data/kv.jsonl
set terminal svg size 860,520 font 'DejaVu Sans,13' background 'white'
set output 'kv_fit.svg'
set label 1000 'bench plot kv; docs/data/kv.jsonl; AMD EPYC, 2 threads' at screen 0.01,0.02 font ',9' textcolor rgb '#777777'
set bmargin 5
set border 3
set tics nomirror
set grid ytics lc rgb '#dddddd'
unset key
set title 'Tokens of DeepSeek-V3 whose cache fits 80 GB (10^9 bytes, cache alone)'
set logscale y
set yrange [1e4:1e7]
set ylabel 'tokens'
set style fill solid 0.9
set boxwidth 0.6
set format y '%.0s %c'
set xrange [-0.6:4.6]
$fit << EOD
0 20011 0x444444 "MHA\nBF16"
1 320184 0x1f78b4 "GQA-8\nBF16"
2 2561475 0x7570b3 "MQA\nBF16"
3 1138433 0xd95f02 "MLA\nBF16"
4 1999200 0xe6ab02 "MLA\nFP8"
EOD
plot $fit using 1:2:3:xtic(4) with boxes lc rgb variable, \
     '' using 1:2:(sprintf('%d', $2)) with labels offset 0,0.8
set terminal pngcairo size 860,520 font 'DejaVu Sans,11' background 'white'
set output 'kv_fit.png'
replot
