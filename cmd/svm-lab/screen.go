package main

import (
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/term"
)

// screen draws a block of lines in place on a terminal. Elsewhere only what is
// printed for good appears.
type screen struct {
	out   io.Writer
	tty   bool
	color bool
	drawn int // lines of the block that are on the terminal
}

// blockWidth is the width of the widest block that is drawn in place, in cells.
const blockWidth = 80

func newScreen(f *os.File) *screen {
	tty := term.IsTerminal(int(f.Fd())) && os.Getenv("TERM") != "dumb"
	s := &screen{out: f, tty: tty, color: tty && os.Getenv("NO_COLOR") == ""}
	// Where lines wrap, going back up misses the top.
	if width, _, err := term.GetSize(int(f.Fd())); err == nil && width < blockWidth {
		s.tty = false
	}
	return s
}

// draw replaces the block drawn before.
func (s *screen) draw(block string) {
	if !s.tty {
		return
	}
	s.replace(block)
	s.drawn = strings.Count(block, "\n")
}

// print writes a block that stays, in the place of the one drawn before.
func (s *screen) print(block string) {
	s.replace(block)
	s.drawn = 0
}

// replace goes back to the top of what was drawn and writes over it: clearing
// first would flicker.
func (s *screen) replace(block string) {
	if s.drawn > 0 {
		block = fmt.Sprintf("\x1b[%dA", s.drawn) + strings.ReplaceAll(block, "\n", "\x1b[K\n") + "\x1b[J"
	}
	_, _ = io.WriteString(s.out, block) // nothing to do about a closed terminal
}

func (s *screen) paint(code, text string) string {
	if !s.color {
		return text
	}
	return "\x1b[" + code + "m" + text + "\x1b[0m"
}

func (s *screen) bold(t string) string  { return s.paint("1", t) }
func (s *screen) dim(t string) string   { return s.paint("2", t) }
func (s *screen) red(t string) string   { return s.paint("31", t) }
func (s *screen) green(t string) string { return s.paint("32", t) }
func (s *screen) blue(t string) string  { return s.paint("36", t) }

// bar is a bar of at most width cells for a part of the whole.
func bar(part, whole, width int) string {
	if whole <= 0 {
		return strings.Repeat(" ", width)
	}
	const eighths = "▏▎▍▌▋▊▉"
	n := min(part*width*8/whole, width*8)
	b := strings.Repeat("█", n/8)
	if n%8 > 0 {
		b += string([]rune(eighths)[n%8-1])
	}
	return b + strings.Repeat(" ", width-(n+7)/8)
}
