module maskrcnn.dev/tests/chart/crds

go 1.26

require (
	github.com/cert-manager/cert-manager v1.18.2
	github.com/prometheus-operator/prometheus-operator v0.88.0
)
