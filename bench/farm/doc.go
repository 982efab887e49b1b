// Package farm is the web farm of the paper's Figure 2 in network namespaces: a
// client, routers, directors that run svm-fwd, and real servers that run svm-rs
// and a web server. svm-lab shows it; end-to-end tests try it.
//
//	f := &farm.Farm{Lab: lab, Topology: farm.Topologies()[0], Families: farm.Both(), Dir: dir, Programs: p}
//	f.Build(3)
//	err := f.Prepare()
//	err = f.WriteCluster(farm.Cluster{Services: f.WebServices("wlc")})
//	err = f.Start(ctx)
//	server, err := f.Caller(4).Download(ctx, 1<<20)
//	err = f.Stop(ctx) // reports whatever was left behind on the hosts
//
// The web servers are this same program, started again, so main or TestMain must
// begin with
//
//	if asked, err := farm.Serve(); asked { ... }
//
// Build and the methods of nodes end the test, or panic with a *netlab.Failure,
// as netlab does. A Farm is used by one goroutine at a time, but Callers by many.
package farm
