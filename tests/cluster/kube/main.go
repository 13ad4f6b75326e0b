// Command kube is the whole control plane, a node's agents, kubectl and etcd in one static binary. Which of them it is
// comes from the name that it is started under, else from its first argument:
//
//	ln -s kube kube-apiserver && ./kube-apiserver --version
//	./kube kube-apiserver --version
package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	"go.etcd.io/etcd/server/v3/etcdmain"
	"k8s.io/component-base/cli"
	_ "k8s.io/component-base/logs/json/register"
	_ "k8s.io/component-base/metrics/prometheus/clientgo"
	_ "k8s.io/component-base/metrics/prometheus/version"
	kubectlcli "k8s.io/kubectl/pkg/cmd"
	kubectlutil "k8s.io/kubectl/pkg/cmd/util"
	apiserver "k8s.io/kubernetes/cmd/kube-apiserver/app"
	controllermanager "k8s.io/kubernetes/cmd/kube-controller-manager/app"
	proxy "k8s.io/kubernetes/cmd/kube-proxy/app"
	scheduler "k8s.io/kubernetes/cmd/kube-scheduler/app"
	kubelet "k8s.io/kubernetes/cmd/kubelet/app"
)

const names = "etcd, kube-apiserver, kube-controller-manager, kube-scheduler, kubelet, kube-proxy, kubectl"

func main() {
	if !run(filepath.Base(os.Args[0])) {
		if len(os.Args) < 2 {
			fail("first argument: one of " + names)
		}
		os.Args = os.Args[1:]
		if !run(os.Args[0]) {
			fail(fmt.Sprintf("unknown component %q; one of %s", os.Args[0], names))
		}
	}
}

// run becomes the component of that name and does not come back; false: there is no such component.
func run(name string) bool {
	switch name {
	case "etcd":
		etcdmain.Main(os.Args)
		os.Exit(0)
	case "kube-apiserver":
		exit(apiserver.NewAPIServerCommand())
	case "kube-controller-manager":
		exit(controllermanager.NewControllerManagerCommand())
	case "kube-scheduler":
		exit(scheduler.NewSchedulerCommand())
	case "kubelet":
		exit(kubelet.NewKubeletCommand(context.Background()))
	case "kube-proxy":
		exit(proxy.NewProxyCommand())
	case "kubectl":
		// kubectl reports its own errors and picks the exit code: cli.Run would print them a second time.
		if err := cli.RunNoErrOutput(kubectlcli.NewDefaultKubectlCommand()); err != nil {
			kubectlutil.CheckErr(err)
		}
		os.Exit(0)
	default:
		return false
	}
	return true
}

func exit(command *cobra.Command) {
	os.Exit(cli.Run(command))
}

func fail(message string) {
	fmt.Fprintln(os.Stderr, strings.TrimSpace("kube: "+message))
	os.Exit(2)
}
