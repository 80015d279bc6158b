# make               build/bin/verify and the example ports
# make verify        install what it needs, build, judge the smoke cases on every port here: build/verify/results.jsonl
# make test          installs what they need, and runs the tests
# make check         test, the cases of ci, deps, format
# make setup         install what is missing
# make bench         build/bin/bench
# make install       dsv3-verify, dsv3-bench and what they need in PREFIX=/usr/local, below DESTDIR= if given
# make uninstall     removes what make install put there
# make text          build/text.txt, which bench train learns
# make cuda-machine  build/ports/cuda_machine.so: the CUDA backend's PTX on the CPU, a port (docs/cuda.md)
# make cuda-ci       all cases of ci by it, those of smoke by other PTX: half an hour; cuda_cases=CASE...
# make cuda-coverage   which lines of the PTX the cases of unit/cuda/cuda_cases.txt run: all, or there is an excuse
# make cuda-mutants    MUTANTS=200 changes of those lines, each judged by these cases: 95 of 100 must be seen
# make cuda-release  cuda/release: the PTX of the kernels, for machines without nvcc
# make cuda-report  registers, spills, occupancy, instructions, bytes and bounds of the CUDA kernels: estimates, ten minutes
# make cuda-toolchain  nvcc from PyPI's wheels of NVIDIA, where there is none: 260 MB in your cache
# make cuda-witness  NVIDIA's headers beside what the CUDA machine takes for granted: 44 MB in your cache; ALL=1: all of binary32
# make studies       the trainings of docs/studies.md, anew, and their figures: an hour
# make studies-smoke a minute of it
# make asan          the tests under Address- and UBSanitizer
# make tsan          cases on our threads (fast/) under ThreadSanitizer
# make legal         honest ports in drawn configurations: none may be accused. Until each op and format has
#                    2 10^5 elements and all have 10^7, or for LEGAL_SECONDS
# make innocent      honest ports beside the filters, for INNOCENT_SECONDS: none may be accused by statistics
# make terms         each term of each radius weakened: a witness must see it; TERMS=NAME,... or tenth; SHARES=1: a table
# make fuzz          each parser on random inputs, FUZZ_SECONDS long, with clang
# make model-test    whole models beside transformers in binary64 (after make transformers-port)
# make transformers-port   Hugging Face's own modules as a port: 5.6 GB in your cache
# make mlx-engine   mlx-lm beside them, for its test: 70 MB more
# make clean-ports   remove those 5.6 GB, and those 260 and 44 MB
# make docs          README.md and docs/ as HTML in build/docs, by pandoc
# make docs-check    their links, anchors and figures
# make clean         remove build/
# make format        clang-format, in place
#
# V=1 shows whole commands. Without -j all processors work.

# ---- CHANGE THE SETTINGS BELOW TO SUIT YOUR MACHINE ----

B            ?= build
ifeq ($(origin CC),default)
CC           := gcc
endif
NVCC         ?= $(or $(shell command -v nvcc),$(firstword $(wildcard $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/dsv3/cuda/toolchain-*/bin/nvcc)))
FUZZ_SECONDS ?= 60
LEGAL_SECONDS ?=
TERMS        ?=
ALL          ?=
MUTANTS      ?= 200
COVERAGE     ?=
WERROR       ?=
SAN          ?=

# ---- NO NEED TO CHANGE ANYTHING BELOW ----

ifeq ($(MAKELEVEL)$(filter -j% --jobserver%,$(MAKEFLAGS) $(shell echo "$$MAKEFLAGS")),0)
MAKEFLAGS += -j$(shell nproc)
endif
ifneq ($(filter clean,$(MAKECMDGOALS)),)
.NOTPARALLEL:
endif

# A build without its tools stops here, with one sentence.
tests  := studies studies-smoke test check asan tsan fuzz legal innocent terms $(B)/unit/%
timers := bench stage install $(B)/bin/bench
bare   := help uninstall setup verify transformers-port mlx-engine cuda-machine cuda-release cuda-toolchain cuda-witness clean clean-ports deps format format-check text docs docs-check
goals  := $(or $(MAKECMDGOALS),all)
check  := $(if $(filter $(tests),$(goals)),tests,$(if $(filter $(timers),$(goals)),bench,$(if $(filter-out $(bare),$(goals)),build)))
absent := $(if $(check),$(shell CC='$(CC)' unit/setup.sh --check $(check)))
ifneq ($(and $(absent),$(filter test check,$(goals))),)
installed := $(shell unit/setup.sh >&2)
absent := $(shell CC='$(CC)' unit/setup.sh --check $(check))
endif
$(if $(absent),$(error $(absent)))

ARCH   := $(firstword $(subst -, ,$(shell $(CC) -dumpmachine 2>/dev/null)))
# The compiler's own: another processor's object files want them.
tool    = $(shell $(CC) -print-prog-name=$(1) 2>/dev/null)
LD     := $(call tool,ld)
OBJCOPY := $(call tool,objcopy)
AR     := $(call tool,ar)
TIERS  := dd 256 512 1024 sampled
OPS    := $(filter-out ops,$(patsubst verify/ops/%.c,%,$(wildcard verify/ops/*.c)))

WARN   := -Wall -Wextra -Wno-missing-field-initializers -Wshadow -Wconversion \
          -Wdouble-promotion -Wmissing-prototypes -Wvla $(WERROR)
CFLAGS := -std=c11 -O2 -g -D_GNU_SOURCE -ffp-contract=off -fPIC -MMD -MP $(SAN) \
          -Iinclude -Iref -Iverify -ffile-prefix-map=$(CURDIR)=.
LDLIBS := -ljansson -lxxhash -lmpfr -lgmp -lsleef -lpthread -ldl -lm
ISAS   := baseline $(if $(filter x86_64,$(ARCH)),v3 v4)
ISA_v3 := -march=x86-64-v3
ISA_v4 := -march=x86-64-v4 -mprefer-vector-width=512
x86    := $(filter x86_64,$(ARCH))
AVX512 := $(if $(x86),-mavx512f -mavx512vl -mavx512bw -mavx512dq -mfma -mf16c -O3,-DPORTABLE)

tiered     := ball decimal dot combine vectors reading matrix coded softmax softmax_error probability attention \
              attention_error layer table $(OPS)
sampled    := draw accumulate
once       := $(filter-out $(tiered) kernel,$(patsubst ref/%.c,%,$(wildcard ref/*.c)))
ref_obj    := $(TIERS:%=$(B)/obj/ref_%.o) $(B)/obj/ref/sampled/sums.o $(once:%=$(B)/obj/ref/%.o) \
              $(ISAS:%=$(B)/obj/ref/kernel_%.o)
verify_src := $(filter-out verify/main.c verify/ports/%,$(wildcard verify/*.c verify/*/*.c))
verify_obj := $(verify_src:%.c=$(B)/obj/%.o)
fast_src   := $(wildcard fast/*.c)
fast_obj   := $(B)/obj/avx512.o $(B)/obj/portable.o
cuda_obj   := $(if $(NVCC),$(patsubst %.cu,$(B)/obj/%.o,$(wildcard cuda/*.cu)),$(B)/obj/cuda/stub.o)
# The PTX that a device's object has, and that the machine runs: the first as cuda_machine.so, the others as cuda_machine_sm_89.so ...
cuda_targets := 80 89 90a
cuda_target  := $(firstword $(cuda_targets))
$(B)/obj/verify/port/backends.o: CFLAGS += -DCUDA_TARGET='"sm_$(cuda_target)"'
cuda_path   = $(dir $(shell readlink -f $(NVCC)))../lib64
CUDA_LIB   := $(if $(NVCC),-L$(cuda_path) -lcudart_static -lrt -lstdc++)
lib        := $(B)/libverify.a
ports      := $(B)/ports/plain.so
cases      := $(patsubst verify/%,$(B)/%,$(wildcard verify/cases/*.txt))
plain      := $(wildcard verify/ports/plain/*.c)
mistakes   := $(shell sed -n 's/^    "\([A-Z][A-Za-z0-9_]*\)": \[.*/\1/p' unit/planted/mistakes.py)
planted    := $(patsubst unit/planted/%.c,$(B)/planted/%.so,$(wildcard unit/planted/*.c)) \
              $(mistakes:%=$(B)/planted/mistake_%.so) $(B)/planted/older.so

# $(call run,WORD): the command that follows, shown as WORD and its target, or whole with V=1.
quiet := $(findstring s,$(firstword -$(MAKEFLAGS)))
run    = $(if $(V),,@$(if $(quiet),,printf '%-5s %s\n' $(1) $@; ))

.PHONY: all always help setup cuda-machine cuda-ci cuda-coverage cuda-mutants cuda-release cuda-report cuda-toolchain cuda-witness verify test check bench asan tsan fuzz legal innocent terms \
        model-test deps format format-check \
        transformers-port mlx-engine clean clean-ports text studies studies-smoke docs docs-check
.DELETE_ON_ERROR:
.SECONDARY:

all: $(B)/bin/verify $(ports) $(cases) $(B)/ports/cuda/port.sh
help:
	@sed -n '/^#/!q; s/^# \{0,1\}//p' Makefile

# ---- the reference: its tiers are compiled from the same sources, each into one object ----

define tier_rules
$(if $(filter sampled,$(1)),$(B)/obj/ref_sampled/%.o: ref/sampled/%.c
	@mkdir -p $$(@D)
	$$(call run,CC)$$(CC) $$(CFLAGS) $$(WARN) $(bits_$(1)) -c $$< -o $$@)
$(B)/obj/ref_$(1)/%.o: ref/%.c
	@mkdir -p $$(@D)
	$$(call run,CC)$$(CC) $$(CFLAGS) $$(WARN) -DTIER=$(1) $(bits_$(1)) -c $$< -o $$@
$(B)/obj/ref_$(1).o: $(tiered:%=$(B)/obj/ref_$(1)/%.o) $(if $(filter sampled,$(1)),$(sampled:%=$(B)/obj/ref_sampled/%.o))
	$$(call run,LD)$(LD) -r $$^ -o $$@.all && $(OBJCOPY) --keep-global-symbol=ref_$(1) $$@.all $$@
endef
$(foreach t,$(filter-out dd sampled,$(TIERS)),$(eval bits_$(t) := -DPROOF_BITS=$(t)))
bits_sampled := -DSAMPLED -O3 -fno-semantic-interposition
$(foreach t,$(TIERS),$(eval $(call tier_rules,$(t))))

$(B)/obj/ref/kernel_cpu.o: ref/kernel_cpu.c
	@mkdir -p $(@D)
	$(call run,CC)$(CC) $(CFLAGS) $(WARN) -c $< -o $@
$(B)/obj/ref/kernel_%.o: ref/kernel.c
	@mkdir -p $(@D)
	$(call run,CC)$(CC) $(CFLAGS) $(WARN) -O3 $(ISA_$*) -DKERNEL_ISA=$* -c $< -o $@
$(B)/obj/ref/format.o: CFLAGS += -O3
$(B)/obj/ref/sampled/sums.o: CFLAGS += -O3

# ---- the harness and our backends ----

$(B)/obj/fast/%.o: CFLAGS += $(AVX512)
$(B)/obj/fast/backend.o: AVX512 :=
$(patsubst %,$(B)/obj/fast/%.o,lanes expansion amx) $(patsubst %,$(B)/obj/fast/attention_%.o,scores squares steps sums): AVX512 += $(if $(x86),-mavx512bf16 -mavx512vbmi)
$(B)/obj/portable/%.o: fast/%.c
	@mkdir -p $(@D)
	$(call run,CC)$(CC) $(CFLAGS) $(WARN) -O3 -DPORTABLE -c $< -o $@
$(B)/obj/verify/case/trained.o: $(wildcard verify/trained/*.safetensors)
$(B)/obj/verify/engine/name_map.o: $(wildcard verify/engine/maps/*.txt)
$(B)/obj/verify/commands/new.o: include/dsv3.h verify/ports/dsv3_port.py $(wildcard verify/ports/first/*)
$(B)/obj/avx512.o: $(fast_src:%.c=$(B)/obj/%.o)
$(B)/obj/portable.o: $(fast_src:fast/%.c=$(B)/obj/portable/%.o)
$(B)/obj/avx512.o $(B)/obj/portable.o:
	$(call run,LD)$(LD) -r $^ -o $@.all && $(OBJCOPY) --keep-global-symbol=dsv3_backend_$(@F:.o=) $@.all $@
$(B)/obj/%.o: %.c
	@mkdir -p $(@D)
	$(call run,CC)$(CC) $(CFLAGS) $(WARN) -c $< -o $@
include cuda/cuda.mk

$(lib): $(verify_obj) $(ref_obj) $(fast_obj) $(cuda_obj)
	@rm -f $@
	$(call run,AR)$(AR) rcs $@ $^
# The commit is asked each time; only another one makes another object.
$(B)/version.o: verify/version.c $(B)/commit.txt
	$(call run,CC)$(CC) $(CFLAGS) $(WARN) -DCOMMIT='"$(shell cat $(B)/commit.txt)"' -c $< -o $@
$(B)/version.o $(B)/obj/verify/version.o: CFLAGS += -DVERSION='"$(file <VERSION)"'
$(B)/version.o $(B)/obj/verify/version.o: VERSION
$(B)/commit.txt: always
	@mkdir -p $(@D)
	@install/commit.sh >$@.new && if cmp -s $@.new $@; then rm $@.new; else mv $@.new $@; fi
$(B)/bin/verify: $(B)/obj/verify/main.o $(B)/version.o $(lib)
	@mkdir -p $(@D)
	$(call run,LD)$(CC) $(SAN) $^ -o $@ $(CUDA_LIB) $(LDLIBS)
bench_obj := $(patsubst %.c,$(B)/obj/%.o,$(wildcard bench/*.c train/*.c))
$(B)/obj/train/adamw.o: CFLAGS += -O3 -fno-math-errno
bench_part := $(filter-out %/main.o,$(bench_obj)) $(B)/obj/ref_dd/ball.o $(B)/obj/ref_dd/dot.o $(B)/obj/cuda/emu/tensor.o
$(B)/bin/bench: $(B)/obj/bench/main.o $(B)/version.o $(bench_part) $(lib)
	@mkdir -p $(@D)
	$(call run,LD)$(CC) $(SAN) $^ -o $@ -lflint-arb -lflint $(CUDA_LIB) $(LDLIBS)
$(B)/cases/%.txt: verify/cases/%.txt
	@mkdir -p $(@D)
	$(call run,CP)cp $< $@
$(B)/%.txt: bench/%.txt
	@mkdir -p $(@D)
	$(call run,CP)cp $< $@
$(B)/ports/openblas.so $(B)/ports/onednn.so: $(B)/ports/%.so: bench/peers/blas.c include/dsv3.h
	@mkdir -p $(@D)
	$(call run,LD)$(port_cc) -D_GNU_SOURCE $(WARN) -DPEER_$(if $(filter openblas,$*),OPENBLAS,ONEDNN) -o $@ $< -ldl
$(B)/ports/dsv3_port.py: verify/ports/dsv3_port.py
	@mkdir -p $(@D)
	$(call run,CP)cp $< $@
$(B)/ports/%.py: bench/%.py
	@mkdir -p $(@D)
	$(call run,CP)cp $< $@

include install/install.mk

# ---- ports, compiled as the documents say: plain, plain with one mistake each, faulty ones ----
# A mistake is in one source or two; the others are compiled once for all mistakes.

port_cc    = $(CC) -std=c11 -O2 -ffp-contract=off -shared -fPIC $(older) -Iinclude
port_h    := verify/ports/plain/plain.h include/dsv3.h
plain_obj := $(plain:verify/ports/plain/%.c=$(B)/planted/plain/%.o)
$(B)/ports/plain.so: $(plain) $(port_h)
	@mkdir -p $(@D)
	$(call run,LD)$(port_cc) $(WARN) -o $@ $(plain) -lm
$(B)/planted/plain/%.o: verify/ports/plain/%.c $(port_h)
	@mkdir -p $(@D)
	$(call run,CC)$(port_cc) -c -o $@ $<
$(B)/planted/mistake_%.so: $(plain_obj) unit/planted/mistakes.py
	@mkdir -p $(B)/planted/$*
	$(call run,LD)from=$$(python3 unit/planted/mistakes.py $* $(B)/planted/$* $(plain)) && \
	    $(port_cc) -Iverify/ports/plain -o $@ $$from -lm
$(B)/planted/avx512.so: unit/planted/avx512.c $(fast_src:%.c=$(B)/obj/%.o) include/dsv3.h
	@mkdir -p $(@D)
	$(call run,LD)$(port_cc) $(SAN) -Wl,-Bsymbolic -o $@ $(filter-out %.h,$^) -lsleef -lpthread -lm
# One compiled with the header as it was before `prepare` and the later ops.
$(B)/planted/older/dsv3.h: include/dsv3.h
	@mkdir -p $(@D)
	$(call run,SED)sed '/What is done once for many calls/,/DSV3_LATER_OPS(OP)$$/d' $< >$@ && ! grep -q "(\*unprepare)" $@
$(B)/planted/older.so: older := -I$(B)/planted/older
$(B)/planted/older.so: unit/planted/planted.c $(B)/planted/older/dsv3.h
	$(call run,LD)$(port_cc) -O1 -D_GNU_SOURCE $(WARN) -DOLDER -o $@ $< -lm
$(B)/planted/%.so: unit/planted/%.c unit/planted/on_plain.h include/dsv3.h
	@mkdir -p $(@D)
	$(call run,LD)$(port_cc) -O1 -D_GNU_SOURCE $(WARN) -o $@ $< -lm

# ---- tests: unit/<folder>/<suite>.c ----
# Those in unit/ref/inside see inside a tier: they are compiled once for each tier named here and
# linked with its objects before they are joined.

inside_ball      := dd 256 1024
inside_dot       := dd
inside_edges     := dd
inside_attention := dd
inside_forms     := dd 256 512
inside_log       := dd 256
inside_cuts      := sampled

inside    := $(patsubst unit/ref/inside/%.c,%,$(wildcard unit/ref/inside/*.c))
suite_src := $(wildcard unit/ref/*.c unit/fast/*.c unit/verify/*.c unit/properties/*.c unit/bench/*.c unit/cuda/*.c)
suites    := $(suite_src:unit/%.c=$(B)/unit/%) \
             $(foreach s,$(inside),$(inside_$(s):%=$(B)/unit/ref/inside/$(s)_%))
in_tier    = $(patsubst %,$(B)/obj/ref_$(1)/%.o,$(filter-out table,$(tiered)) $(if $(filter sampled,$(1)),$(sampled)))
scripts    = $(if $(SAN),,unit/gradients.py unit/in_torch.py unit/cuda_kernels.py unit/cuda_bytes.py unit/cuda_planted.py \
             unit/cuda_campaign.py unit/cuda_release.py unit/cuda_witness.py unit/train.py unit/replay.py unit/engines.py \
             unit/other_engines.py unit/logits.py unit/weights.py unit/f16.py unit/convert.py unit/drift.py unit/kills.py unit/reports.py \
             unit/power.py unit/site.py unit/recipes.py unit/install.py)
# What takes longest begins first: unit/run.sh runs two at a time.
long      := unit/recipes.py unit/other_engines.py $(B)/unit/properties/senses unit/engines.py $(B)/unit/properties/mistakes \
             $(B)/unit/properties/names unit/cuda_planted.py unit/install.py unit/cuda_bytes.py unit/cuda_kernels.py unit/train.py
test_libs := -lcriterion -lflint-arb -lflint $(CUDA_LIB) $(LDLIBS)
test_link  = $(call run,LD)$(CC) $(SAN) $^ -o $@ $(test_libs)

$(B)/obj/unit/%.o: CFLAGS += -Iunit -DBUILD='"$(B)"'
define inside_rules
$(B)/obj/unit/ref/inside/%_$(1).o: unit/ref/inside/%.c
	@mkdir -p $$(@D)
	$$(call run,CC)$$(CC) $$(CFLAGS) $$(WARN) $(bits_$(1)) -c $$< -o $$@
$(B)/unit/ref/inside/%_$(1): $(B)/obj/unit/ref/inside/%_$(1).o $(in_tier) $(lib)
	@mkdir -p $$(@D)
	$$(test_link)
endef
$(foreach t,$(TIERS),$(eval $(call inside_rules,$(t))))
$(B)/obj/unit/bench/%.o: CFLAGS += -Ibench
$(B)/unit/bench/%: $(B)/obj/unit/bench/%.o $(bench_part) $(lib)
	@mkdir -p $(@D)
	$(test_link)
$(B)/unit/cuda/machine: $(B)/obj/unit/cuda/machine.o $(B)/obj/cuda/unit/kernels.ptx.o $(emu_machine) | $(B)/bin/ptx2c
	@mkdir -p $(@D)
	$(test_link)
$(B)/obj/unit/legal/%.o: WARN := $(filter-out -Wconversion -Wdouble-promotion,$(WARN))
$(B)/unit/cuda/layouts: $(B)/obj/unit/cuda/layouts.o $(emu_machine)
	@mkdir -p $(@D)
	$(test_link)
$(B)/unit/cuda/tensor: $(B)/obj/unit/cuda/tensor.o $(B)/obj/cuda/emu/tensor.o $(B)/obj/unit/legal/units.o $(B)/obj/unit/legal/number.o
	@mkdir -p $(@D)
	$(test_link)
$(patsubst %,$(B)/unit/cuda/%,opcodes_compare opcodes_gate opcodes_others opcodes_plain tiles wgmma): $(B)/unit/cuda/%: $(B)/obj/unit/cuda/%.o $(B)/obj/cuda/unit/%.ptx.o $(emu_machine)
	@mkdir -p $(@D)
	$(test_link)
$(B)/unit/cuda/wgmma: $(B)/obj/bench/accumulation_sums.o
# What vec.h has twice, as each has it.
twice_native   := $(AVX512) $(if $(x86),-mavx512bf16 -mavx512vbmi)
twice_portable := -DPORTABLE
$(B)/obj/unit/fast/twice/%.o: unit/fast/twice/functions.c
	@mkdir -p $(@D)
	$(call run,CC)$(CC) $(CFLAGS) $(WARN) $(twice_$*) -DFUNCTIONS=$*_functions -c $< -o $@
$(B)/unit/fast/functions: $(B)/obj/unit/fast/twice/native.o $(B)/obj/unit/fast/twice/portable.o
# Forward formulas over real numbers.
$(B)/unit/ref/chain: $(patsubst %.c,$(B)/obj/%.o,$(wildcard unit/ref/chain/*.c))
$(B)/unit/%: $(B)/obj/unit/%.o $(lib)
	@mkdir -p $(@D)
	$(test_link)

test: $(B)/bin/verify bench $(ports) $(planted) $(cases) $(suites) $(if $(SAN),,$(witness) $(B)/stage.txt)
	@unit/headers.sh
	@BUILD=$(B) $(cuda_tools) unit/run.sh $(filter $(suites) $(scripts),$(long)) $(filter-out $(long),$(scripts) $(suites))
check: test deps format-check
	$(B)/bin/verify run @ci
asan:
	ASAN_OPTIONS=detect_leaks=1 $(MAKE) B=$(B)/asan \
	    SAN="-fsanitize=address,undefined -fno-sanitize-recover=all" test
tsan:
	@$(MAKE) --no-print-directory B=$(B)/tsan SAN=-fsanitize=thread $(B)/tsan/bin/verify
	@TSAN_OPTIONS=halt_on_error=1 DSV3_FAST_THREADS=4 $(B)/tsan/bin/verify run --backend=avx512 \
	    'linear@odd:n_tokens=64' 'rmsnorm@odd:n_tokens=64' gate@odd experts@odd moe@odd mla@odd
model-test: $(B)/bin/verify bench $(ports) $(planted)
	@$(B)/ports/python unit/model.py
deps:
	@unit/deps.sh
format:
	clang-format -i $$(git ls-files '*.c' '*.h' '*.cu' '*.cuh' '*.cpp')
format-check:
	@unit/format.sh

# Honest ports, written from the contract alone: unit/legal.
legal_src := $(filter-out unit/legal/selftest.c,$(wildcard unit/legal/*.c))
$(B)/legal/legal.so: $(legal_src) $(wildcard unit/legal/*.h) include/dsv3.h
	@mkdir -p $(@D)
	$(call run,LD)$(port_cc) -D_GNU_SOURCE $(filter-out -Wconversion -Wdouble-promotion,$(WARN)) -o $@ $(legal_src) -lm
$(B)/legal/selftest: unit/legal/selftest.c unit/legal/number.c unit/legal/units.c unit/legal/number.h unit/legal/units.h
	@mkdir -p $(@D)
	$(call run,LD)$(CC) -std=c11 -O2 -D_GNU_SOURCE -ffp-contract=off -o $@ $(filter %.c,$^) -lcriterion -lm
legal: $(B)/bin/verify $(B)/legal/legal.so $(B)/legal/selftest
	@$(B)/legal/selftest
	@BUILD=$(B) unit/legal/run.py $(if $(LEGAL_SECONDS),--seconds=$(LEGAL_SECONDS),--elements=200000 --total=10000000)

# The same beside the filters, and backends that work here: none may be accused by statistics.
innocent: $(B)/bin/verify $(B)/legal/legal.so $(B)/planted/silent.so $(ports)
	@BUILD=$(B) unit/legal/innocence.py --ports=32 $(if $(INNOCENT_SECONDS),--seconds=$(INNOCENT_SECONDS),--seconds=3600)

# Each term of each radius weakened alone, in copies of the tree: unit/terms.
terms:
	@BUILD=$(B) CC='$(CC)' unit/terms/run.py --terms='$(TERMS)'

# Fuzzing: clang, its sanitizers, a folder of its own. The parsers need no tier of ref.
fuzzers := $(patsubst unit/fuzz/%.c,%,$(wildcard unit/fuzz/*.c))
fuzz:
	@$(MAKE) --no-print-directory B=$(B)/fuzz CC=clang WARN= $(fuzzers:%=$(B)/fuzz/fuzz_%) \
	    SAN="-fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=all"
	@unit/fuzz/run.sh $(B)/fuzz $(FUZZ_SECONDS) $(fuzzers)
# What reads input; the folders that are left out only use what was read.
parsing := $(filter-out $(foreach d,commands engine judge model report run,$(B)/obj/verify/$(d)/%),$(verify_obj))
$(B)/libparsers.a: $(parsing) $(once:%=$(B)/obj/ref/%.o)
	@rm -f $@
	$(call run,AR)$(AR) rcs $@ $^
$(B)/fuzz_%: $(B)/obj/unit/fuzz/%.o $(B)/libparsers.a
	$(call run,LD)$(CC) $(subst fuzzer-no-link,fuzzer,$(SAN)) $^ -o $@ $(LDLIBS)

# ---- what a newcomer starts with ----

setup:
	@unit/setup.sh
verify:
	@unit/setup.sh build
	@echo 'Building $(B)/bin/verify and the ports'
	@$(if $(V),,unit/overwrite.sh 'Built') $(MAKE) --no-print-directory $(B)/bin/verify $(ports) $(cases)
	@$(B)/bin/verify run @smoke --format=text,jsonl --out=$(B)/verify
text_sha256 := b5c4940bcfeee072c0935b5200d0f9d88a00a0199cb0961d16133458fcdfae5d
peers := $(patsubst %,$(B)/ports/%,openblas.so onednn.so torch_peer.py torch_port.py vllm_port.py dsv3_port.py)
bench: $(B)/bin/bench $(B)/perf.txt $(B)/layer.txt $(B)/exact.txt $(B)/peers.txt $(peers)
studies studies-smoke: bench
	+@BUILD=$(B) bench/studies.sh $(if $(filter studies-smoke,$@),smoke)
	@$(if $(filter studies,$@),for study in balance biases domains mtp budget experts speculation; do $(B)/bin/bench plot $$study || exit; done)
# What bench train learns: one text, the same everywhere.
text: $(B)/text.txt
$(B)/text.txt:
	@command -v bible >/dev/null || { echo "make text: install bible-kjv and bible-kjv-text" >&2; exit 2; }
	@mkdir -p $(@D)
	$(call run,TEXT)bible -f 'gen1:1-rev22:21' | sed 's/^[^ ]* //' >$@.part && \
	    echo '$(text_sha256)  $@.part' | sha256sum --check --quiet && mv $@.part $@
docs docs-check:
	@docs/site/build.sh --check
	@echo 'Building $(B)/bin/verify and the pages'
	@$(MAKE) -s --no-print-directory $(B)/bin/verify $(ports)
	@$(if $(filter docs,$@),rm -rf $(B)/docs)
	@BUILD=$(B) $(if $(filter docs,$@),docs/site/build.sh $(B)/docs && echo $(B)/docs/index.html,unit/site.py)
transformers-port:
	@verify/ports/transformers/install.sh $(B)/ports/transformers
mlx-engine: transformers-port
	@unit/mlx.sh $(B)/ports/python
clean-ports:
	@verify/ports/transformers/install.sh --remove
	@cuda/toolchain.sh --remove
	@rm -f $(B)/ports/transformers $(B)/ports/python
clean:
	rm -rf $(B)

%.d: ;
-include $(shell find $(B) -name '*.d' 2>/dev/null)
