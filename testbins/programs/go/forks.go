// crypto/tls and three forks of it in one program. The forks are copies that -overlay puts beside the
// original under other paths (golang.rs).

package main

import (
	"fmt"
	"net"
	"os"

	utls "crypto/tls/utls"
	qtls "crypto/tls/qtls-go1-99"
	xtls "crypto/tls/x/tls"
	tls "crypto/tls"
)

func main() {
	c, err := net.Dial("tcp", os.Args[1])
	if err != nil {
		panic(err)
	}
	b := make([]byte, 10)
	for _, n := range []net.Conn{utls.Client(c, nil), qtls.Client(c, nil), xtls.Client(c, nil), tls.Client(c, nil)} {
		n.Write([]byte("x"))
		fmt.Println(n.Read(b))
		n.Close()
	}
}
