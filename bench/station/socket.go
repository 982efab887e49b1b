package station

import (
	"os"
	"os/user"
	"strconv"
)

// lend gives a listening socket to its SocketUser=, with its SocketMode=.
func lend(path string, u unit) error {
	if name := u.last("Socket", "SocketUser"); name != "" {
		who, err := user.Lookup(name)
		if err != nil {
			return err
		}
		id, err := strconv.Atoi(who.Uid)
		if err != nil {
			return err
		}
		if err := os.Chown(path, id, -1); err != nil {
			return err
		}
	}
	mode := uint64(0o666) // systemd's default
	if text := u.last("Socket", "SocketMode"); text != "" {
		var err error
		if mode, err = strconv.ParseUint(text, 8, 9); err != nil {
			return err
		}
	}
	return os.Chmod(path, os.FileMode(mode))
}
