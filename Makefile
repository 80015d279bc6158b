# make verify   install what is missing (says so first), build, judge the smoke cases on every port that works here
# make test     unit tests and tests of the programs      make check   test, ci cases, deps, format
# make bench    build/bin/bench                           make asan    the tests under Address- and UBSanitizer
# make model-test   verify model beside transformers in binary64, streaming, refusals (after make transformers-port)
# make fuzz     each parser on random inputs, FUZZ_SECONDS (60) long, with clang
# make transformers-port   Hugging Face's own modules as a port: 5.6 GB of Python packages in the user's cache

B      ?= build
CC     ?= gcc
NVCC   ?= $(shell command -v nvcc)
ARCH   := $(shell uname -m)
TIERS  := dd 256 512 1024
OPS    := $(filter-out ops,$(patsubst verify/ops/%.c,%,$(wildcard verify/ops/*.c)))

WARN   := -Wall -Wextra -Wno-missing-field-initializers -Wshadow -Wconversion -Wdouble-promotion -Wmissing-prototypes -Wvla $(WERROR)
CFLAGS := -std=c11 -O2 -g -D_GNU_SOURCE -ffp-contract=off -fPIC -Iinclude -Iref -Iverify -MMD -MP $(SAN)
LDLIBS := -ljansson -lmpfr -lgmp -lpthread -ldl -lm
ISAS   := baseline $(if $(filter x86_64,$(ARCH)),v3 v4)
ISA_v3 := -march=x86-64-v3
ISA_v4 := -march=x86-64-v4 -mprefer-vector-width=512
AVX512 := -mavx512f -mavx512vl -mavx512bw -mavx512dq -mfma -O3

tiered   := ball vectors reading matrix softmax softmax_error attention attention_error layer table $(OPS)
once     := $(filter-out $(tiered) kernel,$(patsubst ref/%.c,%,$(wildcard ref/*.c)))
ref_obj  := $(TIERS:%=$(B)/obj/ref_%.o) $(once:%=$(B)/obj/ref/%.o) $(ISAS:%=$(B)/obj/ref/kernel_%.o)
verify_src := $(filter-out verify/main.c verify/ports/%,$(wildcard verify/*.c verify/*/*.c))
verify_obj := $(verify_src:%.c=$(B)/obj/%.o)
fast_obj := $(patsubst %.c,$(B)/obj/%.o,$(wildcard fast/*.c))
cuda_obj := $(if $(NVCC),$(patsubst %.cu,$(B)/obj/%.o,$(wildcard cuda/*.cu)),$(B)/obj/cuda/stub.o)
CUDA_LIB := $(if $(NVCC),-L$(dir $(shell readlink -f $(NVCC) 2>/dev/null))../lib64 -lcudart_static -lrt -lstdc++)
lib      := $(B)/libverify.a
ports    := $(B)/ports/plain.so
cases    := $(patsubst verify/%,$(B)/%,$(wildcard verify/cases/*.txt))
planted  := $(patsubst unit/planted/%.c,$(B)/planted/%.so,$(wildcard unit/planted/*.c)) \
            $(patsubst %,$(B)/planted/mistake_%.so,$(shell python3 unit/planted/mistakes.py))

.PHONY: all verify test check bench asan fuzz model-test deps format format-check setup transformers-port clean clean-ports
.DELETE_ON_ERROR:
.SECONDARY:

all: $(B)/bin/verify $(ports) $(cases)

define tier_rules
$(B)/obj/ref_$(1)/%.o: ref/%.c
	@mkdir -p $$(@D)
	$$(CC) $$(CFLAGS) $$(WARN) -DTIER=$(1) $(if $(filter dd,$(1)),,-DPROOF_BITS=$(1)) -c $$< -o $$@
$(B)/obj/ref_$(1).o: $(tiered:%=$(B)/obj/ref_$(1)/%.o)
	ld -r $$^ -o $$@.all
	objcopy --keep-global-symbol=ref_$(1) $$@.all $$@
endef
$(foreach t,$(TIERS),$(eval $(call tier_rules,$(t))))

$(B)/obj/ref/kernel_cpu.o: ref/kernel_cpu.c
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) $(WARN) -c $< -o $@
$(B)/obj/ref/kernel_%.o: ref/kernel.c
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) $(WARN) -O3 $(ISA_$*) -DKERNEL_ISA=$* -c $< -o $@
$(B)/obj/ref/format.o: CFLAGS += -O3
$(B)/obj/fast/%.o: CFLAGS += $(if $(filter x86_64,$(ARCH)),$(AVX512))
$(B)/obj/fast/backend.o: AVX512 :=
$(B)/obj/%.o: %.c
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) $(WARN) -c $< -o $@
$(B)/obj/cuda/%.o: cuda/%.cu
	@mkdir -p $(@D)
	$(NVCC) -O2 -std=c++17 -Iinclude -Xcompiler -fPIC -c $< -o $@

$(lib): $(verify_obj) $(ref_obj) $(fast_obj) $(cuda_obj)
	@rm -f $@
	ar rcs $@ $^
$(B)/bin/verify: $(B)/obj/verify/main.o $(lib)
	@mkdir -p $(@D)
	$(CC) $(SAN) $^ -o $@ $(CUDA_LIB) $(LDLIBS)
$(B)/bin/bench: $(patsubst %.c,$(B)/obj/%.o,$(wildcard bench/*.c)) $(B)/obj/ref_dd/ball.o $(lib)
	@mkdir -p $(@D)
	$(CC) $(SAN) $^ -o $@ -lflint-arb -lflint $(CUDA_LIB) $(LDLIBS)
plain := $(wildcard verify/ports/plain/*.c)
$(B)/ports/plain.so: $(plain) verify/ports/plain/plain.h include/dsv3.h
	@mkdir -p $(@D)
	$(CC) -std=c11 -O2 -D_GNU_SOURCE -ffp-contract=off -Iinclude -shared -fPIC $(WARN) $(plain) -o $@ -lm
$(B)/planted/%.so: unit/planted/%.c include/dsv3.h
	@mkdir -p $(@D)
	$(CC) -std=c11 -O1 -D_GNU_SOURCE -ffp-contract=off -Iinclude -shared -fPIC $(WARN) $< -o $@ -lm

# The plain port with one mistake each.
$(B)/planted/mistake_%.so: $(plain) verify/ports/plain/plain.h unit/planted/mistakes.py include/dsv3.h
	@mkdir -p $(B)/planted/$*
	@python3 unit/planted/mistakes.py $* $(B)/planted/$* $(plain)
	$(CC) -std=c11 -O2 -D_GNU_SOURCE -ffp-contract=off -Iinclude -Iverify/ports/plain -shared -fPIC $(B)/planted/$*/*.c -o $@ -lm

$(B)/ports/%.py: bench/%.py
	@mkdir -p $(@D)
	cp $< $@
$(B)/cases/%.txt: verify/cases/%.txt
	@mkdir -p $(@D)
	cp $< $@

# Unit tests, unit/<folder>/<suite>.c. Those in unit/ref/inside see inside a tier: they are compiled once for each tier named here
# and linked with its objects before they are joined.
inside_ball      := dd 256 1024
inside_dot       := dd
inside_attention := dd
inside_forms     := dd 256 512
inside    := $(patsubst unit/ref/inside/%.c,%,$(wildcard unit/ref/inside/*.c))
suites    := $(patsubst unit/%.c,$(B)/unit/%,$(wildcard unit/ref/*.c unit/verify/*.c unit/properties/*.c)) \
             $(foreach s,$(inside),$(inside_$(s):%=$(B)/unit/ref/inside/$(s)_%))
test_link  = @mkdir -p $(@D); $(CC) $(SAN) $^ -o $@ -lcriterion -lflint-arb -lflint $(CUDA_LIB) $(LDLIBS)
$(B)/obj/unit/%.o: CFLAGS += -Iunit -DBUILD='"$(B)"' -Wno-missing-prototypes -Wno-missing-field-initializers
define inside_rules
$(B)/obj/unit/ref/inside/%_$(1).o: unit/ref/inside/%.c
	@mkdir -p $$(@D)
	$$(CC) $$(CFLAGS) $$(WARN) $(if $(filter dd,$(1)),,-DPROOF_BITS=$(1)) -c $$< -o $$@
$(B)/unit/ref/inside/%_$(1): $(B)/obj/unit/ref/inside/%_$(1).o $(patsubst %,$(B)/obj/ref_$(1)/%.o,$(filter-out table,$(tiered))) $(lib)
	$$(test_link)
endef
$(foreach t,$(TIERS),$(eval $(call inside_rules,$(t))))
$(B)/unit/%: $(B)/obj/unit/%.o $(lib)
	$(test_link)

tests_need := $(B)/bin/verify $(ports) $(planted) $(cases) $(suites)
test: $(tests_need)
	@unit/headers.sh
	@unit/run.sh $(suites)
verify: setup
	@$(MAKE) --no-print-directory $(B)/bin/verify $(ports) $(cases)
	$(B)/bin/verify run @smoke
check: test deps format-check
	$(B)/bin/verify run @ci
bench: $(B)/bin/bench $(B)/ports/torch_peer.py
asan:
	ASAN_OPTIONS=detect_leaks=1 $(MAKE) B=$(B)/asan SAN="-fsanitize=address,undefined -fno-sanitize-recover=all" test
model-test: $(B)/bin/verify $(ports) $(planted)
	@$(B)/ports/python unit/model.py
setup:
	@unit/setup.sh
transformers-port:
	@verify/ports/transformers/install.sh $(B)/ports/transformers
clean-ports:
	@verify/ports/transformers/install.sh --remove
	@rm -f $(B)/ports/transformers $(B)/ports/python
# Fuzzing: clang, its sanitizers, a folder of its own. The parsers need no tier of ref.
FUZZ_SECONDS ?= 60
fuzzers := $(patsubst unit/fuzz/%.c,%,$(wildcard unit/fuzz/*.c))
fuzz:
	@$(MAKE) --no-print-directory B=$(B)/fuzz CC=clang WARN= SAN="-fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=all" \
	    $(fuzzers:%=$(B)/fuzz/fuzz_%)
	@unit/fuzz/run.sh $(B)/fuzz $(FUZZ_SECONDS) $(fuzzers)
$(B)/libparsers.a: $(verify_obj) $(once:%=$(B)/obj/ref/%.o)
	@rm -f $@
	ar rcs $@ $^
$(B)/fuzz_%: $(B)/obj/unit/fuzz/%.o $(B)/libparsers.a
	$(CC) $(subst fuzzer-no-link,fuzzer,$(SAN)) $^ -o $@ $(LDLIBS)
deps:
	@unit/deps.sh
format:
	clang-format -i $$(git ls-files '*.c' '*.h' '*.cu' '*.cuh')
format-check:
	@clang-format --dry-run -Werror $$(git ls-files '*.c' '*.h' '*.cu' '*.cuh')
clean:
	rm -rf $(B)

%.d: ;
-include $(shell find $(B) -name '*.d' 2>/dev/null)
