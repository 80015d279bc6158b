# make install, make uninstall: stage.sh makes the tree, install.sh copies it. Read by ../Makefile.

PREFIX  ?= /usr/local
DESTDIR ?=
staged  := $(B)/bin/verify $(B)/bin/bench $(B)/perf.txt $(cases) $(ports) $(B)/ports/openblas.so $(B)/ports/onednn.so \
           $(B)/layer.txt $(B)/exact.txt $(B)/peers.txt $(B)/ports/cuda/port.sh $(wildcard $(B)/ports/cuda_machine.so) \
           $(plain) include/dsv3.h verify/ports/dsv3_port.py verify/ports/record.py verify/ports/convert.py $(wildcard verify/ports/cuda/rmsnorm.* install/*) \
           VERSION CHANGELOG.md README.md LICENSE \
           $(wildcard docs/*.md docs/components/*.md docs/figures/*.svg)
# A quotation mark in a path, as the shell takes it. Whole paths alone, which is what a folder below DESTDIR needs.
place    = $(if $(filter /%,$(firstword $(PREFIX))),,$(error make $@: PREFIX=$(PREFIX) is no whole path: it begins with /))'$(subst ','\'',$(DESTDIR)$(PREFIX))'

.PHONY: stage install uninstall
stage: $(B)/stage.txt
$(B)/stage.txt: $(staged)
	$(call run,STAGE)install/stage.sh $(B)
install: $(B)/stage.txt
	@install/install.sh $(B)/stage $(place)
uninstall:
	@install/install.sh --remove $(place)
