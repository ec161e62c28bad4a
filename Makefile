# What a developer runs. `make demo` and `make test` install what they need first
# (Debian and Ubuntu; elsewhere they say which packages are missing).

GO      ?= go
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
LDFLAGS := -X main.version=$(VERSION)
# How long each fuzz test runs in `make fuzz`.
FUZZTIME ?= 20s
# Where `make gpu-check` and `make cpu-peers` write.
OUT = $@

.PHONY: build demo test shaders check-shaders shader-stats finetune-proof lint race fuzz clean parity serve-check serve-load gpu-check cpu-peers precision-proof

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

finetune-proof: build ## fine-tuning frozen and in full, compared: make finetune-proof CIFAR=cifar10.tar.gz
	scripts/finetune-proof.sh "$(CIFAR)"

serve-check: build ## serve's page in headless Chromium (needs chromium and chromium-driver)
	scripts/serve-check.sh page docs/serve.png

serve-load: build ## serve under load: requests/s and latency at 1, 8 and 64 clients
	scripts/serve-check.sh load

gpu-check: ## what a GPU can do, and PyTorch beside it, in under ten minutes; builds nothing
	scripts/gpu-check.sh $(OUT)

cpu-peers: build ## alexnet on this machine's processor: vkalexnet, PyTorch and onnxruntime in one run
	scripts/cpu-peers.sh $(OUT)

precision-proof: build ## alexnet-cifar in fp32, fp16 and bf16: the same accuracy (DATA=folder of CIFAR-10)
	scripts/precision-proof.sh $(DATA) runs/precision

lint:
	scripts/lint.sh

race:
	scripts/test.sh race

fuzz: ## every reader of files and requests on damaged input, FUZZTIME (20s) for each
	scripts/fuzz.sh $(FUZZTIME)

SAMPLES ?= ../shared/data/imagenet-samples.tar

parity: ## imported weights and logits against PyTorch's
	tests/parity/parity.sh $(SAMPLES)

clean:
	rm -rf bin demo .tools
