# Made by: build/bin/bench plot kv docs/data/kv.jsonl --out=docs/figures
# from what was measured by: build/bin/bench run @bench/kv.txt --format=jsonl >docs/data/kv.jsonl
set terminal svg size 860,520 font 'DejaVu Sans,13' background 'white'
set output 'kv_bytes.svg'
set label 1000 'bench plot kv; docs/data/kv.jsonl; AMD EPYC, 2 threads' at screen 0.01,0.02 font ',9' textcolor rgb '#777777'
set bmargin 5
set border 3
set tics nomirror
set grid ytics lc rgb '#dddddd'
unset key
set title 'KV cache of DeepSeek-V3 by kind of attention: bytes of a token, 61 layers'
set logscale y
set yrange [10:10000]
set ylabel 'KB a token (1 KB = 1000 bytes)'
set style fill solid 0.9
set boxwidth 0.36
set xrange [-0.6:3.6]
set xtics ('MHA' 0, 'GQA-8' 1, 'MQA' 2, 'MLA' 3)
$sizes << EOD
0 3997.6959999999999 1998.848 MHA
1 249.85599999999999 124.928 GQA-8
2 31.231999999999999 15.616 MQA
3 70.272000000000006 40.015999999999998 MLA
EOD
set key top right
plot $sizes using ($1-0.19):2 with boxes lc rgb '#1f78b4' title 'BF16', \
     '' using ($1+0.19):3 with boxes lc rgb '#e6ab02' title 'FP8', \
     '' using ($1-0.19):2:(sprintf('%.1f', $2)) with labels offset 0,0.7 notitle, \
     '' using ($1+0.19):3:(sprintf('%.1f', $3)) with labels offset 0,0.7 notitle
set terminal pngcairo size 860,520 font 'DejaVu Sans,11' background 'white'
set output 'kv_bytes.png'
replot
