// A library in Go for programs in other languages: sends a text over TLS to itself, and gives back how
// many bytes came.

package main

import "C"

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"io"
	"math/big"
	"time"
)

func main() {}

//export Talk
func Talk(messages C.int) C.int {
	key, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return -1
	}
	certificate := tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
	listener, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{certificate}})
	if err != nil {
		return -2
	}
	// Its last Write has returned before Talk does: a program that ends earlier has not written it.
	echoed := make(chan struct{})
	go func() {
		defer close(echoed)
		conn, err := listener.Accept()
		if err == nil {
			io.CopyN(conn, conn, 5*int64(messages))
		}
	}()
	conn, err := tls.Dial("tcp", listener.Addr().String(), &tls.Config{InsecureSkipVerify: true})
	if err != nil {
		return -3
	}
	total := 0
	for ; messages > 0; messages-- {
		conn.Write([]byte("hello"))
		echo := make([]byte, 5)
		n, _ := io.ReadFull(conn, echo)
		total += n
	}
	conn.Close()
	<-echoed
	return C.int(total)
}
