# Every target runs the set-up that it needs, which is done only once.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

VENV := .venv/bin
PYTEST := $(VENV)/python -m pytest
VERSION_HERE = $(shell sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)

# A generated file is renamed into place, so that a failed generator leaves the old file unchanged.
define generate
	$(VENV)/python -m $(1) > $(2).new
	@mv $(2).new $(2)
endef

.PHONY: help setup demo parity test test-unit test-trainer test-tensorrt test-report test-oracle test-apiserver test-chart test-kueue e2e images install-manifests lint format docs goldens manifests states dev-cluster lock bench-train-step bench-dataset-convert bench-inference bench-operator-scale bench-operator-budget bench-report-endpoint bench-input-pipeline bench-record-order gpu-check bench-nuclei bench-nuclei-gang soak gpu-placement gpu-kernels clean bench-fine-tuning dev-s3 bench-object-storage

help: ## list all targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## /{printf "  make %-22s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: ## create the environment .venv with the commands maskrcnn and maskrcnn-operator
	@scripts/setup.sh

.PHONY: quickstart
quickstart: setup ## generate small pictures, train on them for a few minutes, and draw what the model detects
	@scripts/quickstart.sh

demo: setup ## generates pictures, then every task in twelve steps, and draws the result
	@scripts/demo.sh

parity: setup ## compare the demo's ONNX exports with the original model (after make demo)
	@scripts/parity.sh

test: setup ## run the unit, trainer, and API-server tests with coverage; make e2e runs the others
	@scripts/test.sh

test-unit: setup ## run the tests that don't need TensorFlow
	$(PYTEST) -n auto --dist worksteal tests/unit

test-trainer: setup ## run the tests that need TensorFlow and Horovod
	$(PYTEST) tests/trainer

test-tensorrt: setup ## parse and build the exported graphs with TensorRT, without a GPU (downloads 90 MB once)
	@scripts/test_tensorrt.sh

test-report: setup ## compare the report's errors with tidecv's, also on detections of make demo, and open its pages in Chromium
	@scripts/test_report.sh $(ARGS)

test-oracle: setup ## compare COCO detectors of six styles with the original code of torchvision and MMDetection (ARGS="-k mmdet"; builds mmcv once)
	@scripts/test_oracle.sh $(ARGS)

test-object-storage: setup ## test inputs and results in object storage on moto, versitygw, Azurite, and a stub for Cloud Storage (built once; ARGS="-k faults")
	@scripts/test_object_storage.sh $(ARGS)

test-object-storage-smoke: setup ## test inputs and results in object storage on moto alone (installed once)
	@scripts/test_object_storage.sh --smoke $(ARGS)

test-fence: setup ## enumerate all interleavings of the processes that write results to object storage (ARGS="-k swap")
	FENCE_SCENARIOS=all $(PYTEST) -s tests/unit/object_store/fence/test_enumeration.py $(ARGS)

test-apiserver: setup ## run the tests with a real API server (whose binaries are found, downloaded, or built once)
	$(PYTEST) tests/apiserver

test-chart: setup ## test the chart: lint, golden files, all objects on a real API server
	$(PYTEST) tests/chart

test-kueue: setup ## run experiments in queues of a real Kueue (built once), and show its log
	$(VENV)/python tests/kueue/installation.py
	$(PYTEST) tests/kueue

images: setup ## build the images of the operator and the trainer with docker, podman, or buildah (TARGET=gpu: for GPUs; ARGS=--local: no registry)
	@scripts/images.sh $(TARGET) $(ARGS)

e2e: setup ## test images, chart, monitoring, GitOps, and scenarios on real nodes (needs root, or E2E_KUBECONFIG)
	@scripts/e2e.sh $(ARGS)

install-manifests: setup ## render the chart as plain YAML in dist/install
	@scripts/install_manifests.sh $(ARGS)

dev-cluster: setup ## start a control plane and print its KUBECONFIG line (ARGS="--play-kubelet", ARGS=--stop, NODE=1: a real node)
	@$(VENV)/python scripts/dev_cluster.py $(if $(NODE),--nodes=$(NODE)) $(ARGS)

dev-s3: setup ## start an S3 server of this machine, and print the line that names its store config (ARGS=--stop)
	@$(VENV)/python scripts/dev_s3.py $(ARGS)

prove-store: setup ## check conditional writes, races, uploads, and permissions on a real bucket (URL=s3://BUCKET/PREFIX ARGS="--store-config FILE")
	@$(VENV)/python scripts/prove_store.py $(URL) $(ARGS)

lint: setup ## run ruff and mypy, and check the import-layer contracts and the generated files
	$(VENV)/ruff check .
	$(VENV)/ruff format --check .
	$(VENV)/mypy operator/maskrcnn_operator trainer/maskrcnn_trainer scripts benchmarks examples
	$(VENV)/lint-imports
	$(VENV)/python scripts/check_words.py
	@$(MAKE) -s spelling actionlint dockerfiles check-locks check-generated

spelling: setup ## check the spelling of all tracked files (codespell)
	git ls-files -z | xargs -0 $(VENV)/codespell

actionlint: setup ## check GitHub's workflows with actionlint (built once into the user's cache)
	@"$$($(VENV)/python -c 'from tests.cluster.tools import find_tool; print(find_tool("actionlint"))')" -shellcheck= -pyflakes=

dockerfiles: setup ## check the Dockerfiles with hadolint
	$(VENV)/hadolint --failure-threshold style --ignore DL3008 images/*/Dockerfile

check-locks: setup ## check that requirements/trainer-gpu.lock, which no test installs, still follows from pyproject.toml
	@scripts/lock.sh check

check-generated: setup ## check that generated files are up to date
	$(VENV)/python -m maskrcnn_operator.api.crd --check crds/maskrcnn.dev_maskrcnnexperiments.yaml
	$(VENV)/python -m maskrcnn_operator.api.docs --check docs/reference/resource.md
	$(VENV)/python -m maskrcnn_operator.metrics.docs --check docs/reference/metrics.md
	$(VENV)/python -m scripts.chart_readme --check charts/maskrcnn-operator/README.md
	$(VENV)/python -m scripts.reasons_table --check docs/reference/reasons.md
	$(VENV)/python -m scripts.cli_page --check docs/reference/cli.md
	$(VENV)/python -m scripts.files_page --check docs/reference/files.md
	$(VENV)/python -m scripts.styles_page --check docs/reference/detector-styles.md
	@cmp crds/maskrcnn.dev_maskrcnnexperiments.yaml charts/maskrcnn-operator/files/crd.yaml

manifests: setup ## generate the CustomResourceDefinition, the chart's README, and the pages of docs/reference (but states.md)
	$(call generate,maskrcnn_operator.api.crd,crds/maskrcnn.dev_maskrcnnexperiments.yaml)
	$(call generate,maskrcnn_operator.api.docs,docs/reference/resource.md)
	$(call generate,maskrcnn_operator.metrics.docs,docs/reference/metrics.md)
	@cp crds/maskrcnn.dev_maskrcnnexperiments.yaml charts/maskrcnn-operator/files/crd.yaml
	$(call generate,scripts.chart_readme,charts/maskrcnn-operator/README.md)
	$(call generate,scripts.reasons_table,docs/reference/reasons.md)
	$(call generate,scripts.cli_page,docs/reference/cli.md)
	$(call generate,scripts.files_page,docs/reference/files.md)
	$(call generate,scripts.styles_page,docs/reference/detector-styles.md)

docs: setup ## build the documentation site in dist/docs; a broken link is an error
	$(VENV)/sphinx-build -W --keep-going -n -q -b html -d dist/doctrees docs dist/docs
	@echo "dist/docs/index.html"

goldens: setup ## write what the operator and the trainer create for many experiments; fingerprints are only added
	$(VENV)/python -m tests.unit.goldens.build

states: setup ## docs/reference/states.md: what kubectl shows of an experiment in each state (a control plane runs for half a minute)
	$(VENV)/python scripts/experiment_states.py

format: setup ## format and auto-fix with ruff
	$(VENV)/ruff check --fix .
	$(VENV)/ruff format .

lock: setup ## resolve the lock files again
	@scripts/lock.sh

bench-train-step: setup ## measure a training step and inference, compared with TensorFlow Model Garden (ARGS="--before DIR": with an earlier version)
	$(VENV)/python benchmarks/train_step.py $(ARGS)

bench-dataset-convert: setup ## measure dataset_convert, compared with TensorFlow Model Garden's converter
	$(VENV)/python benchmarks/dataset_convert.py

bench-inference: setup ## measure inference with every kind of model, compared with Model Garden, and the whole command
	$(VENV)/python benchmarks/inference.py

bench-operator-scale: setup ## measure the operator with 500 and 2,000 experiments on a claim and 500 in a bucket, compared with a bare client
	$(VENV)/python benchmarks/operator_scale.py
	$(VENV)/python benchmarks/operator_scale.py --object-storage --experiments 500 --first-job-only

bench-operator-budget: setup ## measure the delay of an experiment by a flood of unknown tokens
	$(VENV)/python benchmarks/operator_budget.py

bench-report-endpoint: setup ## measure the report endpoint's memory with 5,000 idle connections, and the reports that arrive
	$(VENV)/python benchmarks/report_endpoint.py

bench-record-order: setup ## measure reading records in stored order, in a window's order, and as a permutation
	$(VENV)/python benchmarks/record_order.py

bench-input-pipeline: setup ## measure the input pipeline alone
	$(VENV)/python benchmarks/input_pipeline.py

bench-object-storage: setup ## measure inputs from and results in object storage, compared with rclone and with a directory (ARGS=publishing: one part)
	$(VENV)/python benchmarks/object_storage.py $(ARGS)

bench-fine-tuning: setup ## measure mask AP of fine-tuning a whole detector, compared with new heads on its backbone (ARGS="--backbone FILE")
	$(VENV)/python benchmarks/fine_tuning.py $(ARGS)

gpu-placement: setup ## list the operations of a training step and of inference that would run on the host of a GPU
	$(VENV)/python benchmarks/gpu_placement.py $(ARGS)

gpu-kernels: setup ## write benchmarks/gpu_kernels.json.xz, what TensorFlow's GPU wheel can run on a GPU (downloads 615 MB once)
	$(VENV)/python benchmarks/gpu_kernels.py

gpu-check: $(if $(GPU_PYTHON),,setup) ## check a training on this machine's GPUs: values, speed, memory, whole commands (ARGS=--rehearse: small, on the CPU)
	@$(or $(GPU_PYTHON),$(VENV)/python) benchmarks/gpu_check.py all $(ARGS)

bench-nuclei: setup ## measure mask AP on real images with a published protocol (its manifest has the paths of the data)
	$(VENV)/maskrcnn-operator run examples/nuclei/protocol-p1.yaml --workspace workspace

bench-nuclei-gang: setup ## measure mask AP on the same data with two processes
	$(VENV)/maskrcnn-operator run examples/nuclei/experiment.yaml --workspace workspace

soak: setup ## run the operator for half an hour with injected faults (ARGS="--experiments 20 --minutes 3": a short run)
	$(VENV)/python scripts/soak.py $(ARGS)

dist: setup ## build the sdist and the wheel in dist/python
	rm -rf dist/python
	SOURCE_DATE_EPOCH=$${SOURCE_DATE_EPOCH:-$$(git log -1 --format=%ct)} \
		$(VENV)/uv build -q --no-build-isolation --python $(VENV)/python --out-dir dist/python
	@ls dist/python

chart-package: setup ## package the chart into dist/chart (OPERATOR_IMAGE and TRAINER_IMAGE name images by digest)
	$(VENV)/python scripts/chart_package.py --operator "$${OPERATOR_IMAGE-}" --trainer "$${TRAINER_IMAGE-}"

chart-push: setup ## push the packaged chart to oci://REPOSITORY/charts, after a login to the registry
	@"$$($(VENV)/python -c 'from tests.cluster.tools import find_tool; print(find_tool("helm"))')" push dist/chart/*.tgz "oci://$$REPOSITORY/charts" $(ARGS)

kind-images: ## load the images of make images into a kind cluster (CLUSTER=NAME)
	kind load docker-image --name $(or $(CLUSTER),kind) maskrcnn-operator:$(VERSION_HERE) maskrcnn-trainer:$(VERSION_HERE)-cpu

release-check: setup ## check that one version is named everywhere (VERSION=v1.2.3: that it can be released)
	$(VENV)/python scripts/release.py check --version "$${VERSION-}" --repository "$${REPOSITORY-}"

release-notes: setup ## print a section of CHANGELOG.md (VERSION=1.2.3 or Unreleased; OUTPUT=FILE also writes it)
	@$(VENV)/python scripts/release.py notes "$$VERSION" $${OUTPUT:+--output "$$OUTPUT"}

hooks: setup ## install Git hooks that run the checks of make lint before each commit
	$(VENV)/pre-commit install

.PHONY: prove-store test-fence test-object-storage test-object-storage-smoke spelling actionlint dockerfiles check-locks check-generated dist chart-package chart-push kind-images release-check release-notes hooks

clean: ## the environment and everything generated; the user's cache stays
	rm -rf .venv .bench workspace .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis
