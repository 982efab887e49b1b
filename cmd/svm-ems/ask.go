package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"regexp"
	"strings"

	"github.com/urfave/cli/v2"
)

// asker asks questions on a terminal, or whatever stands in for one.
type asker struct {
	ctx context.Context
	in  *bufio.Reader
	out io.Writer
	err error // ends all questions
}

// ask fills k by questions, with defaults that fit what was answered before.
func ask(c *cli.Context, k *sketch) error {
	a := &asker{ctx: c.Context, in: bufio.NewReader(c.App.Reader), out: c.App.ErrWriter}
	fmt.Fprintln(a.out, "An empty answer takes what is in brackets; a dash stands for none.")
	a.label("Name of the farm", "farm", &k.name)
	a.prefix("Clients' network", "192.168.1.0/24", &k.client.cidr)
	a.addr("Its router", k.nth(k.client, 1), true, &k.client.gateway)
	a.prefix("Servers' network", "192.168.2.0/24", &k.server.cidr)
	a.addr("Its router, by which replies leave", k.nth(k.server, 1), true, &k.server.gateway)
	a.addr("This station's address", k.nth(k.server, 5), true, &k.station)
	for i := range 2 {
		if i == 1 && !a.yes("A second director, as a backup", true) {
			break
		}
		d := director{}
		a.label(fmt.Sprintf("Director %d: name", i+1), fmt.Sprintf("eds%d", i+1), &d.name)
		a.device("  device on the clients' side", "eth0", &d.clientDevice)
		a.addr("  address there", k.nth(k.client, 2+i), false, &d.client)
		a.device("  device on the servers' side", "eth1", &d.serverDevice)
		a.addr("  address there", k.nth(k.server, 2+i), false, &d.server)
		k.directors = append(k.directors, d)
	}
	for i := 0; a.err == nil; i++ {
		if i > 0 && !a.yes("Another real server", i < 2) {
			break
		}
		s := server{}
		a.label(fmt.Sprintf("Real server %d: name", i+1), fmt.Sprintf("eps%d", i+1), &s.name)
		a.addr("  address", k.nth(k.server, 11+i), false, &s.address)
		a.until("  MAC address, for DHCP", "-", func(text string) (err error) {
			if text == "-" {
				return nil
			}
			s.mac, err = parseMAC(text)
			return err
		})
		k.servers = append(k.servers, s)
	}
	a.addr("Virtual address of the web service", k.nth(k.client, 100), false, &k.vip)
	a.text("Its ports", "80", regexp.MustCompile(`^([0-9]{1,5}(, ?[0-9]{1,5})*|[0-9]{1,5}-[0-9]{1,5}|any)$`), "80, 80,443, 8000-8999 or any", &k.ports)
	return a.err
}

// nth is the n-th address of a network, for a default.
func (k *sketch) nth(s side, n int) string {
	if !s.cidr.IsValid() {
		return ""
	}
	at := s.cidr.Addr()
	for range n {
		at = at.Next()
	}
	if !s.cidr.Contains(at) {
		return ""
	}
	return at.String()
}

// line asks once.
func (a *asker) line(question, standard string) string {
	if a.err != nil {
		return ""
	}
	if standard != "" {
		question += " [" + standard + "]"
	}
	fmt.Fprint(a.out, question+": ")
	text, err := unlessInterrupted(a.ctx, func() (string, error) { return a.in.ReadString('\n') })
	if a.ctx.Err() != nil {
		a.err = err
		return ""
	}
	if err != nil && (text == "" || !errors.Is(err, io.EOF)) {
		a.err = errors.New("the answers ended: nothing was made")
		return ""
	}
	if text = strings.TrimSpace(text); text == "" {
		return standard
	}
	return text
}

// until asks until take accepts the answer.
func (a *asker) until(question, standard string, take func(string) error) {
	for a.err == nil {
		text := a.line(question, standard)
		if a.err != nil {
			return
		}
		err := take(text)
		if err == nil {
			return
		}
		fmt.Fprintf(a.out, "  %v\n", err)
	}
}

// text asks for words that match want, which is said in words, too.
func (a *asker) text(question, standard string, want *regexp.Regexp, words string, into *string) {
	a.until(question, standard, func(s string) error {
		if !want.MatchString(s) {
			return fmt.Errorf("want %s", words)
		}
		*into = s
		return nil
	})
}

func (a *asker) label(question, standard string, into *string) {
	a.text(question, standard, regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`), "letters a-z, digits and inner hyphens", into)
}

func (a *asker) device(question, standard string, into *string) {
	a.text(question, standard, regexp.MustCompile(`^[A-Za-z0-9_.-]{1,15}$`), "a network device, as ip -br link shows it", into)
}

func (a *asker) addr(question, standard string, optional bool, into *netip.Addr) {
	a.until(question, standard, func(s string) (err error) {
		if optional && s == "-" {
			return nil
		}
		*into, err = parseAddr(s)
		return err
	})
}

func (a *asker) prefix(question, standard string, into *netip.Prefix) {
	a.until(question, standard, func(s string) (err error) { *into, err = parsePrefix(s); return err })
}

func (a *asker) yes(question string, standard bool) (yes bool) {
	word := map[bool]string{true: "yes", false: "no"}
	a.until(question, word[standard], func(s string) error {
		switch strings.ToLower(s) {
		case "y", "yes":
			yes = true
		case "n", "no":
			yes = false
		default:
			return errors.New("yes or no?")
		}
		return nil
	})
	return yes
}
