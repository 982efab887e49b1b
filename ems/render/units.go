package render

import (
	"embed"
	"strings"
)

//go:embed units
var units embed.FS // read-only

const unitDir = "/etc/systemd/system/"

// ReceiverSocket is where svm-receiver.socket listens. It isn't below /run/svm, which
// belongs to the director daemon alone.
const ReceiverSocket = "/run/svm-receiver.sock"

// previousFile is the cluster file of the generation before, as long as the one that
// rules is not confirmed (ems/machine).
const previousFile = "/var/lib/svm-config/previous/root" + ClusterFile

// binDir is where the units look for the programs.
const binDir = "/usr/local/bin/"

// BaseUnits are the units that a machine of the kind needs before its first
// configuration. They are without a stamp. user is whom deliveries log in as,
// delivery.ssh_user of the cluster file; empty: its default. node is the machine's
// name in the cluster file; empty: the programs go by the host name.
func BaseUnits(k Kind, user, node string) []File {
	names := []string{"svm-receiver.socket", "svm-receiver@.service"}
	switch k {
	case Director:
		names = append([]string{"svm-firstboot.service"}, names...)
	case RealServer:
		names = append([]string{"svm-agent.service"}, names...)
	default:
		return nil
	}
	var all []File
	for _, name := range names {
		all = append(all, File{Path: unitDir + name, Mode: 0o644, Data: []byte(unit(name, k, user, node))})
	}
	return all
}

// unit is one of the embedded units, made fit for a machine: deliveries come from
// user, the receiver is that of the machine's program, and where node is given the
// programs are told it instead of going by the host name.
func unit(name string, k Kind, user, node string) string {
	data, err := units.ReadFile("units/" + name)
	if err != nil { // the names are constants: not reached
		panic(err)
	}
	text := string(data)
	if name == "svm-receiver@.service" && k == RealServer {
		text = strings.ReplaceAll(text, binDir+"svm-fwd ", binDir+"svm-rs ")
	}
	if user != "" {
		text = strings.Replace(text, "\nSocketUser=svm-push\n", "\nSocketUser="+user+"\n", 1)
	}
	if node != "" {
		for _, command := range named() {
			text = strings.ReplaceAll(text, binDir+command+"\n", binDir+command+" --node "+node+"\n")
		}
	}
	return text
}

// named are the commands of the units that ask which machine this is.
func named() []string {
	return []string{
		"svm-fwd run --config " + ClusterFile, "svm-fwd receive --direct", "svm-fwd provision", "svm-fwd firstboot",
		"svm-rs apply --config " + ClusterFile, "svm-rs apply --also " + previousFile + " --config " + ClusterFile, "svm-rs receive --direct", "svm-rs agent",
	}
}
