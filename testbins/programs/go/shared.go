// TLS inside of a C library written in Go (-buildmode=c-shared): a program that is not Go loads it.
// Both ends of one connection; returns 0 if the echo is what was sent.

package main

import "C"

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"io"
	"math/big"
	"net"
	"time"
)

//export exchange
func exchange(size C.int) C.int {
	if talk(int(size)) != nil {
		return 1
	}
	return 0
}

func talk(size int) error {
	config, err := serverConfig()
	if err != nil {
		return err
	}
	listener, err := tls.Listen("tcp", "127.0.0.1:0", config)
	if err != nil {
		return err
	}
	defer listener.Close()
	go func() {
		conn, err := listener.Accept()
		if err == nil {
			_, _ = io.Copy(conn, conn)
			_ = conn.Close()
		}
	}()
	conn, err := tls.Dial("tcp", listener.Addr().String(), &tls.Config{InsecureSkipVerify: true})
	if err != nil {
		return err
	}
	sent := bytes.Repeat([]byte("shared "), size/7+1)[:size]
	if _, err := conn.Write(sent); err != nil {
		return err
	}
	echo := make([]byte, size)
	if _, err := io.ReadFull(conn, echo); err != nil {
		return err
	}
	if !bytes.Equal(echo, sent) {
		return io.ErrUnexpectedEOF
	}
	return conn.Close()
}

func serverConfig() (*tls.Config, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		NotBefore:    time.Now().Add(-time.Hour),
		NotAfter:     time.Now().Add(time.Hour),
		IPAddresses:  []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return nil, err
	}
	certificate := tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
	return &tls.Config{Certificates: []tls.Certificate{certificate}}, nil
}

func main() {}
