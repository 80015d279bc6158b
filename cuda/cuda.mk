# The CUDA backend: its PTX on this processor, and what can be said of it without a device (docs/cuda.md). Read by ../Makefile.

emu_machine := $(patsubst %,$(B)/obj/cuda/emu/%.o,machine machine_blocks machine_memory machine_warp machine_wgmma counts tensor switch)
emu_obj := $(emu_machine) $(patsubst %,$(B)/obj/cuda/emu/%.o,runtime fault port)
nvcc = $(NVCC) -O2 -std=c++17 -fmad=false -Iinclude -Xcompiler -fPIC -keep -keep-dir $(@D)
cc_kernels = $(CC) $(filter-out -O2 -g,$(CFLAGS)) -O1 -w -Icuda/emu -c $< -o $@
link_port = $(CXX) $(SAN) -shared -Wl,-Bsymbolic $^ -o $@ -lm
# Where there is no nvcc: the PTX that it made elsewhere, with host code by clang (cuda/release.sh).
release := $(B)/obj/cuda/release
release_lacks := $(if $(NVCC),,$(shell cuda/release.sh --check))
no_nvcc := nvcc is missing: install NVIDIA's CUDA toolkit, name it by NVCC=, or try make cuda-toolchain
kernels := $(if $(NVCC),$(B)/obj/cuda,$(release))
machine_host := $(patsubst cuda/%.cu,$(kernels)/%.o,$(wildcard cuda/*.cu))
$(release)/%.ptx: $(release)/unpacked
	@:
$(release)/unpacked: cuda/release/ptx.tar.xz
	@mkdir -p $(@D)
	$(call run,TAR)touch $@ && cuda/release.sh --unpack $(@D)
host = clang++ -x cuda --cuda-host-only -nocudainc -nocudalib -Xclang -target-sdk-version=11.0 -Xclang -fcuda-include-gpubinary -Xclang /dev/null \
    -include cuda/host/cuda_runtime.h -Icuda/host -Iinclude -std=c++17 -O2 -fPIC -w
$(release)/%.o: cuda/%.cu $(wildcard cuda/*.cuh cuda/host/*.h) include/dsv3.h
	@mkdir -p $(@D)
	$(call run,CLANG)$(host) -c $< -o $@
$(release)/wgmma/%.o: cuda/%.cu $(wildcard cuda/*.cuh cuda/host/*.h) include/dsv3.h
	@mkdir -p $(@D)
	$(call run,CLANG)$(host) -DDSV3_WGMMA -c $< -o $@
# The object for a device, and beside it the PTX that the machine runs (cuda/emu).
$(B)/obj/cuda/%.o $(cuda_targets:%=$(B)/obj/cuda/\%.compute_%.ptx): cuda/%.cu $(wildcard cuda/*.cuh)
	@mkdir -p $(@D)
	$(call run,NVCC)$(nvcc) $(foreach t,$(cuda_targets),-gencode=arch=compute_$t,code=compute_$t) -c $< -o $(@D)/$*.o
# Products by wgmma: functionally emulated, never timed.
$(B)/obj/cuda/wgmma/%.o $(B)/obj/cuda/wgmma/%.ptx: cuda/%.cu $(wildcard cuda/*.cuh)
	@mkdir -p $(@D)
	$(call run,NVCC)$(nvcc) -DDSV3_WGMMA -gencode=arch=compute_90a,code=compute_90a -c $< -o $(@D)/$*.o
$(B)/bin/ptx2c: $(patsubst %,$(B)/obj/cuda/emu/%.o,ptx2c ptx_text c_text put_arithmetic put_call put_memory put_warp put_wgmma)
	@mkdir -p $(@D)
	$(call run,LD)$(CC) $(CFLAGS) $(filter %.o,$^) -o $@
$(B)/obj/cuda/%.ptx.c: $(B)/obj/cuda/%.ptx $(B)/bin/ptx2c
	$(call run,PTX)$(B)/bin/ptx2c $< >$@
$(B)/obj/cuda/unit/%.ptx.c: unit/cuda/%.ptx $(B)/bin/ptx2c
	@mkdir -p $(@D)
	$(call run,PTX)$(B)/bin/ptx2c $< >$@
$(B)/obj/cuda/%.ptx.o: $(B)/obj/cuda/%.ptx.c cuda/emu/translated.h
	$(call run,CC)$(cc_kernels)
# Where the C of sm_89 is that of sm_80 but for its names, its object is, too: the names are as long.
$(B)/obj/cuda/%.compute_89.ptx.o: $(B)/obj/cuda/%.compute_89.ptx.c $(B)/obj/cuda/%.compute_80.ptx.c $(B)/obj/cuda/%.compute_80.ptx.o
	$(call run,CC)if sed 's/compute_89/compute_80/g; s/sm_89/sm_80/g' $< | cmp -s - $(word 2,$^); then \
	    LC_ALL=C sed 's/compute_80/compute_89/g; s/sm_80/sm_89/g' $(word 3,$^) >$@; else $(cc_kernels); fi
cuda-machine: $(if $(release_lacks),,$(B)/ports/cuda_machine.so)
	@$(if $(release_lacks),echo "make cuda-machine: $(no_nvcc) ($(release_lacks))" >&2; exit 2,:)
cuda-release: $(if $(NVCC),$(cuda_obj) $(B)/obj/cuda/wgmma/products.o)
	@$(if $(NVCC),cuda/release.sh --write $(B) '$(NVCC)',echo "make cuda-release: $(no_nvcc)" >&2; exit 2)
# All cases of @ci by sm_80, those of @smoke by the others: each with the units that its processor has; a few products by wgmma.
cuda_cases = @ci
cuda-ci: $(B)/bin/verify $(B)/ports/cuda_machine.so $(B)/ports/cuda_machine_sm_89.so $(B)/ports/cuda_machine_sm_90a.so $(B)/ports/cuda_machine_wgmma.so
	@NVCC='$(NVCC)' KERNELS=$(kernels) unit/cuda.sh $(B) $(cuda_cases)
cuda-report: $(if $(NVCC),$(B)/bin/verify $(B)/ports/cuda_machine_sm_90a.so $(B)/obj/cuda/wgmma/products.o)
	@$(if $(NVCC),NVCC='$(NVCC)' CXX='$(CXX)' cuda/report.py --build=$(B),echo "make cuda-report: $(no_nvcc)" >&2; exit 2)
cuda-toolchain:
	@cuda/toolchain.sh
# What NVIDIA's headers say, by g++ alone: those beside nvcc, and CuTe's where they are in the cache.
cuda_headers = $(dir $(shell readlink -f $(NVCC)))../include
CUTE := $(wildcard $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/dsv3/cuda/witness-$(shell sha256sum cuda/witness.txt | cut -c1-12))
witness := $(if $(NVCC),$(B)/cuda/formats $(if $(CUTE),$(B)/cuda/layouts))
$(B)/cuda/formats: unit/cuda/formats.cpp cuda/e4m3.cuh $(wildcard cuda/emu/*.h) $(B)/obj/ref/format.o $(B)/obj/cuda/emu/tensor.o
	@mkdir -p $(@D)
	$(call run,CXX)$(CXX) -std=c++17 -O2 -D_GNU_SOURCE -ffp-contract=off $(SAN) -Iinclude -Iref -isystem $(cuda_headers) $(filter %.cpp %.o,$^) -o $@ -lpthread -lm
$(B)/cuda/layouts: unit/cuda/layouts.cpp cuda/witness.txt
	@mkdir -p $(@D)
	$(call run,CXX)$(CXX) -std=c++17 -O1 -w -isystem $(CUTE) -isystem $(CUTE)/cccl -isystem $(cuda_headers) $< -o $@
cuda-witness:
	@$(if $(NVCC),cuda/toolchain.sh --witness,echo "make cuda-witness: $(no_nvcc)" >&2; exit 2)
	@$(MAKE) -s --no-print-directory witness
	@BUILD=$(B) VERBOSE=1 unit/cuda_witness.py $(if $(ALL),--all)
.PHONY: witness
witness: $(witness)
# What cuda:FILE.cu is made with, in one folder.
$(B)/ports/cuda/port.sh: verify/ports/cuda/port.sh verify/ports/cuda/launch.awk verify/ports/cuda/launch.h include/dsv3.h $(wildcard cuda/emu/*.h) $(filter-out %/port.o,$(emu_obj)) | $(B)/bin/ptx2c
	@mkdir -p $(@D)
	$(call run,CP)cp $^ $(@D)
define machine_rule
$(B)/ports/cuda_machine$(if $(filter-out $(cuda_target),$(1)),_sm_$(1)).so: $(machine_host) $(machine_host:.o=.compute_$(1).ptx.o) $(emu_obj)
	@mkdir -p $$(@D)
	$$(call run,LD)$$(link_port)
endef
$(foreach t,$(cuda_targets),$(eval $(call machine_rule,$t)))
$(B)/ports/cuda_machine_wgmma.so: $(filter-out %/products.o,$(machine_host)) $(filter-out %/products.compute_90a.ptx.o,$(machine_host:.o=.compute_90a.ptx.o)) \
        $(kernels)/wgmma/products.o $(kernels)/wgmma/products.ptx.o $(emu_obj)
	@mkdir -p $(@D)
	$(call run,LD)$(link_port)
# The same kernels, which note the lines that run.
$(B)/obj/cuda/%.coverage.c: $(B)/obj/cuda/%.ptx $(B)/bin/ptx2c
	$(call run,PTX)$(B)/bin/ptx2c --coverage $< >$@
$(B)/obj/cuda/%.coverage.o: $(B)/obj/cuda/%.coverage.c cuda/emu/translated.h cuda/emu/coverage.h
	$(call run,CC)$(cc_kernels)
machine_obj := $(machine_host) $(emu_obj)
# What tests that change a kernel link and compile with.
cuda_tools := CC='$(CC)' CXX='$(CXX)' NVCC='$(NVCC)' OBJECTS='$(if $(NVCC),$(machine_obj) $(cuda_obj:.o=.compute_$(cuda_target).ptx.o))'
$(B)/ports/cuda_coverage.so: $(machine_obj) $(machine_host:.o=.compute_$(cuda_target).coverage.o)
	@mkdir -p $(@D)
	$(call run,LD)$(link_port)
cuda-coverage cuda-mutants: cuda-machine $(if $(NVCC),$(B)/bin/verify $(B)/ports/cuda_coverage.so)
	@BUILD=$(B) $(cuda_tools) unit/cuda/$(subst -,_,$@).py $(if $(filter cuda-mutants,$@),--number=$(MUTANTS),$(COVERAGE))
# For whoever has a GPU: cuda/gpu_check.sh.
$(B)/cuda/unit_sums: unit/cuda/unit_sums.cu
	@mkdir -p $(@D)
	$(call run,NVCC)$(NVCC) -O2 -DGPU=90 -gencode=arch=compute_90a,code=sm_90a -o $@ $<
$(B)/cuda/gpu_times: unit/cuda/gpu_times.cu $(cuda_obj) include/dsv3.h
	@mkdir -p $(@D)
	$(call run,NVCC)$(NVCC) -O2 -std=c++17 -Iinclude -o $@ $< $(cuda_obj) -lcublas
