// Command flux runs Flux's engine on a file of manifests and prints the result as JSON:
//
//	flux NAMESPACE MANIFEST.yaml
//
// It applies the manifests on the server, and prints the action for each object and its status by kstatus.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"time"

	"github.com/fluxcd/cli-utils/pkg/kstatus/polling"
	"github.com/fluxcd/cli-utils/pkg/kstatus/status"
	"github.com/fluxcd/pkg/ssa"
	ssautil "github.com/fluxcd/pkg/ssa/utils"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/restmapper"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

type answer struct {
	Applied map[string]string `json:"applied"`
	Status  map[string]string `json:"status"`
	Message map[string]string `json:"message"`
}

func main() {
	if len(os.Args) != 3 {
		fail(fmt.Errorf("expected two arguments: NAMESPACE MANIFEST.yaml"))
	}
	found, err := run(os.Args[1], os.Args[2])
	if err != nil {
		fail(err)
	}
	if err := json.NewEncoder(os.Stdout).Encode(found); err != nil {
		fail(err)
	}
}

func run(namespace, manifest string) (*answer, error) {
	config, err := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(
		clientcmd.NewDefaultClientConfigLoadingRules(), &clientcmd.ConfigOverrides{}).ClientConfig()
	if err != nil {
		return nil, err
	}
	config.QPS, config.Burst = 200, 400
	mapper, err := newMapper(discovery.NewDiscoveryClientForConfigOrDie(config))
	if err != nil {
		return nil, err
	}
	kube, err := client.New(config, client.Options{Mapper: mapper})
	if err != nil {
		return nil, err
	}
	file, err := os.Open(manifest)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	objects, err := ssautil.ReadObjects(file)
	if err != nil {
		return nil, err
	}
	for _, object := range objects {
		object.SetNamespace(namespace)
	}
	poller := polling.NewStatusPoller(kube, mapper, polling.Options{})
	manager := ssa.NewResourceManager(kube, poller, ssa.Owner{Field: "kustomize-controller", Group: "kustomize.toolkit.fluxcd.io"})
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	changes, err := manager.ApplyAll(ctx, objects, ssa.DefaultApplyOptions())
	if err != nil {
		return nil, err
	}
	found := &answer{Applied: map[string]string{}, Status: map[string]string{}, Message: map[string]string{}}
	for _, entry := range changes.Entries {
		found.Applied[entry.ObjMetadata.Name] = string(entry.Action)
	}
	for _, object := range objects {
		live := object.DeepCopy()
		if err := kube.Get(ctx, client.ObjectKeyFromObject(object), live); err != nil {
			return nil, err
		}
		result, err := status.Compute(live)
		if err != nil {
			return nil, err
		}
		found.Status[object.GetName()] = string(result.Status)
		found.Message[object.GetName()] = result.Message
	}
	return found, nil
}

func newMapper(discover discovery.DiscoveryInterface) (meta.RESTMapper, error) {
	groups, err := restmapper.GetAPIGroupResources(discover)
	if err != nil {
		return nil, err
	}
	return restmapper.NewDiscoveryRESTMapper(groups), nil
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, "flux:", err)
	os.Exit(1)
}
