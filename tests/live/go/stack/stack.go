// Functions in Go's assembly language use ABI0, as all of Go did before 1.17: arguments and results are on
// the stack. These have the frames of tls.Conn's methods.

package main

import (
	"bufio"
	"fmt"
	"os"
)

type conn struct{ place [64]byte }

func read(c *conn, data []byte) (n int, err error)
func write(c *conn, data []byte) (n int, err error)
func splitWrite(c *conn, data []byte) (n int, err error)
func closeConn(c *conn) error

func main() {
	fmt.Println("ready")
	bufio.NewReader(os.Stdin).ReadString('\n')
	for i := 0; i < 3; i++ {
		c := new(conn)
		write(c, []byte(fmt.Sprintf("written on %d", i)))
		splitWrite(c, []byte("; and split"))
		data := make([]byte, 40)
		n, _ := read(c, data[:20])
		if n != 20 || string(data[:n]) != "zzzzzzzzzzzzzzzzzzzz" {
			panic(n)
		}
		write(c, nil)
		closeConn(c)
	}
}
