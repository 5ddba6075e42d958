// A vCenter simulator on the loopback interface, of govmomi's library as the distribution packages it.
//
// Stricter than vcsim itself, which takes datastore files from and gives them to anybody: a request under /folder needs
// the cookie of a live session, as with a real vCenter.
package main

import (
	"crypto/tls"
	"flag"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"
)

func main() {
	listen := flag.String("listen", "127.0.0.1:0", "address and port")
	user := flag.String("user", "glance", "who may log in, with the password in VCSIM_PASSWORD")
	certificate := flag.String("certificate", "", "PEM file; the simulator's own if empty")
	key := flag.String("key", "", "its key")
	datastores := flag.Int("datastores", 2, "how many there are in the datacenter DC0: LocalDS_0, LocalDS_1 …")
	flag.Parse()

	model := simulator.VPX()
	model.Datastore = *datastores
	stopIf(model.Create())
	model.Service.Listen = &url.URL{Host: *listen, User: url.UserPassword(*user, os.Getenv("VCSIM_PASSWORD"))}
	model.Service.TLS = new(tls.Config)
	if *certificate != "" {
		pair, err := tls.LoadX509KeyPair(*certificate, *key)
		stopIf(err)
		model.Service.TLS.Certificates = []tls.Certificate{pair}
	}
	server := model.Service.NewServer()
	server.Config.Handler = withSession(server.Config.Handler, *user)
	fmt.Println("ready on", server.URL.Host)

	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM, syscall.SIGINT)
	<-stop
	server.CloseClientConnections()
	server.Close()
	model.Remove()
}

// withSession lets nobody at datastore files who has not logged in as `user`.
func withSession(next http.Handler, user string) http.Handler {
	return http.HandlerFunc(func(answer http.ResponseWriter, request *http.Request) {
		if strings.HasPrefix(request.URL.Path, "/folder") && !isLoggedIn(request, user) {
			answer.Header().Set("Connection", "close")
			answer.WriteHeader(http.StatusUnauthorized)
			return
		}
		next.ServeHTTP(answer, request)
	})
}

func isLoggedIn(request *http.Request, user string) bool {
	cookie, err := request.Cookie(soap.SessionCookieName)
	if err != nil {
		return false
	}
	question := types.SessionIsActive{SessionID: cookie.Value, UserName: user}
	answer, ok := simulator.Map.SessionManager().SessionIsActive(
		&simulator.Context{Map: simulator.Map}, &question).(*methods.SessionIsActiveBody)
	return ok && answer.Res != nil && answer.Res.Returnval
}

func stopIf(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
