# What a developer runs. `make demo` and `make test` install what they need first
# (Debian and Ubuntu; elsewhere they say which packages are missing).

GO      ?= go
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
LDFLAGS := -X main.version=$(VERSION)
# How long each fuzz test runs in `make fuzz`.
FUZZTIME ?= 20s

.PHONY: build demo test shaders check-shaders shader-stats lint race fuzz precision-proof clean

build: ## bin/vkalexnet
	$(GO) build -ldflags '$(LDFLAGS)' -o bin/vkalexnet ./cmd/vkalexnet

demo: ## train alexnet-small on generated pictures and classify some
	scripts/demo.sh

test: ## everything that continuous integration checks
	scripts/test.sh

shaders: ## shaders/*.comp -> shaders/spv/*.spv
	scripts/shaders.sh build

check-shaders: ## the committed SPIR-V is what the sources give
	scripts/shaders.sh check

shader-stats: build ## registers, spills and occupancy of every kernel by AMD's compiler in Mesa
	scripts/shader-stats.sh

precision-proof: build ## alexnet-cifar in fp32, fp16 and bf16: the same accuracy (DATA=folder of CIFAR-10)
	scripts/precision-proof.sh $(DATA) runs/precision

lint:
	scripts/lint.sh

race:
	scripts/test.sh race

fuzz:
	scripts/fuzz.sh $(FUZZTIME)

clean:
	rm -rf bin demo .tools
