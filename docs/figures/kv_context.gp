# Made by: build/bin/bench plot kv docs/data/kv.jsonl --out=docs/figures
# from what was measured by: build/bin/bench run @bench/kv.txt --format=jsonl >docs/data/kv.jsonl
set terminal svg size 860,520 font 'DejaVu Sans,13' background 'white'
set output 'kv_context.svg'
set label 1000 'bench plot kv; docs/data/kv.jsonl; AMD EPYC, 2 threads' at screen 0.01,0.02 font ',9' textcolor rgb '#777777'
set bmargin 5
set border 3
set tics nomirror
set grid ytics lc rgb '#dddddd'
unset key
set title 'KV cache of one sequence of DeepSeek-V3'
set logscale x 2
set logscale y
set xrange [1024:2*1048576]
set yrange [0.01:10000]
set xtics ('1 Ki' 1024, '4 Ki' 4096, '16 Ki' 16384, '64 Ki' 65536, '256 Ki' 262144, '1 Mi' 1048576)
set xlabel 'context, tokens'
set ylabel 'GB (10^9 bytes)'
set rmargin 16
set arrow from graph 0, first 80 to graph 1, first 80 nohead dt 2 lc rgb '#999999'
set label '80 GB' at 1150,80*1.4 textcolor rgb '#777777'
set label 'MHA, BF16' at 2.1*1048576,8383.7761617920005 textcolor rgb '#444444'
set label 'GQA-8, BF16' at 2.1*1048576,523.98601011200003 textcolor rgb '#1f78b4'
set label 'MQA, BF16' at 2.1*1048576,45.848775884799998 textcolor rgb '#7570b3'
set label 'MLA, BF16' at 2.1*1048576,147.37106534399999 textcolor rgb '#d95f02'
set label 'MLA, FP8' at 2.1*1048576,83.919634431999995*1.05 textcolor rgb '#e6ab02'
$ours << EOD
4096 0.28783411199999998 0.16390553599999999
16384 1.1513364479999999 0.65562214399999996
65536 4.6053457919999996 2.6224885759999998
262144 18.421383167999998 10.489954303999999
1048576 73.685532671999994 41.959817215999998
EOD
set key bottom right
plot 0.0039976960000000002*x lw 2 lc rgb '#444444' notitle, \
     0.00024985600000000001*x lw 2 lc rgb '#1f78b4' notitle, \
     3.1232000000000002e-05*x lw 2 lc rgb '#7570b3' notitle, \
     7.0271999999999994e-05*x lw 2 lc rgb '#d95f02' notitle, \
     4.0015999999999998e-05*x lw 2 lc rgb '#e6ab02' notitle, \
     $ours using 1:2 with points pt 7 lc rgb '#d95f02' title 'slots of our BF16 cache', \
     '' using 1:3 with points pt 7 lc rgb '#e6ab02' title 'slots of our FP8 cache'
set terminal pngcairo size 860,520 font 'DejaVu Sans,11' background 'white'
set output 'kv_context.png'
replot
