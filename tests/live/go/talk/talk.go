// Talks TLS with itself over TCP in the ways that are hard to watch. Each end of each connection says what
// it knows of its socket: --log FOLDER gets a file per end, `client-N.socket`, with "local peer fd", and
// for raw connections what Read and Write really moved (`.read`, `.write`).
//
// Prints "ready" and waits for a line where --wait is given, so that an observer can come in between.

package main

import (
	"bufio"
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"
)

var (
	conns    = flag.Int("conns", 1, "connections at once")
	folder   = flag.String("log", "", "folder for the logs")
	maxTLS   = flag.Int("tls", 13, "highest version: 10, 12 or 13")
	messages = flag.Int("messages", 10, "messages on each connection")
	mode     = flag.String("mode", "raw", "raw, odd, reuse, blocked, stack, nested, h1, h2, load")
	size     = flag.Int("size", 300, "bytes of a message")
	wait     = flag.Bool("wait", false, "wait for a line of input before the first message")
	wrap     = flag.Bool("wrap", false, "the client's TCP connection in a type of our own")
)

func must(err error) {
	if err != nil {
		log.Output(2, err.Error())
		os.Exit(1)
	}
}

func main() {
	log.SetFlags(log.Lshortfile)
	flag.Parse()
	time.AfterFunc(120*time.Second, func() { log.Fatal("takes too long") })
	modes := map[string]func(){
		"raw": raw, "odd": odd, "reuse": reuse, "blocked": blocked, "stack": stack, "nested": nested,
		"h1": web, "h2": web, "load": load,
	}
	if *wait && *mode != "blocked" {
		standStill()
	}
	modes[*mode]()
	finishWriting()
	writeLogs()
}

var stdin = bufio.NewReader(os.Stdin)

func standStill() {
	fmt.Println("ready")
	_, err := stdin.ReadString('\n')
	must(err)
}

// A TCP connection between others, as programs have them.
type logged struct {
	name string
	net.Conn
}

// One end of a connection, with what went through it.
type end struct {
	*tls.Conn
	mutex         sync.Mutex
	read, written bytes.Buffer
	name, socket  string
	queue         chan []byte
	done          chan struct{}
}

var (
	ends   []*end
	mutex  sync.Mutex
	number = map[string]int{}
)

func watch(conn *tls.Conn, role string) *end {
	mutex.Lock()
	defer mutex.Unlock()
	watched := &end{Conn: conn, name: fmt.Sprintf("%s-%d", role, number[role]), socket: socketOf(conn), queue: make(chan []byte, 1), done: make(chan struct{})}
	go watched.writeAll()
	number[role]++
	ends = append(ends, watched)
	return watched
}

func socketOf(conn *tls.Conn) string {
	inner := conn.NetConn()
	for {
		switch is := inner.(type) {
		case *logged:
			inner = is.Conn
		case *tls.Conn:
			inner = is.NetConn()
		default:
			fd := -1
			raw, err := inner.(*net.TCPConn).SyscallConn()
			must(err)
			must(raw.Control(func(number uintptr) { fd = int(number) }))
			return fmt.Sprintf("%s %s %d", conn.LocalAddr(), conn.RemoteAddr(), fd)
		}
	}
}

func (watched *end) Read(data []byte) (int, error) {
	n, err := watched.Conn.Read(data)
	watched.mutex.Lock()
	if *mode != "load" {
		watched.read.Write(data[:n])
	}
	watched.mutex.Unlock()
	return n, err
}

// Logged before it is done: once the other end has the bytes, the program may be over before this
// goroutine comes back.
func (watched *end) Write(data []byte) (int, error) {
	if *mode == "load" {
		return watched.Conn.Write(data)
	}
	watched.mutex.Lock()
	watched.written.Write(data)
	watched.mutex.Unlock()
	n, err := watched.Conn.Write(data)
	if n < len(data) {
		watched.mutex.Lock()
		watched.written.Truncate(watched.written.Len() - len(data) + n)
		watched.mutex.Unlock()
	}
	return n, err
}

func writeLogs() {
	if *folder == "" {
		return
	}
	mutex.Lock()
	defer mutex.Unlock()
	for _, watched := range ends {
		base := filepath.Join(*folder, watched.name)
		must(os.WriteFile(base+".socket", []byte(watched.socket), 0o600))
		if *mode != "h1" && *mode != "h2" {
			must(os.WriteFile(base+".read", watched.read.Bytes(), 0o600))
			must(os.WriteFile(base+".write", watched.written.Bytes(), 0o600))
		}
	}
}

var certificate = sync.OnceValue(func() tls.Certificate {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		NotBefore:    time.Now().Add(-time.Hour),
		NotAfter:     time.Now().Add(time.Hour),
		IPAddresses:  []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	must(err)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
})

func config(protocols ...string) *tls.Config {
	version := map[int]uint16{10: tls.VersionTLS10, 12: tls.VersionTLS12, 13: tls.VersionTLS13}[*maxTLS]
	suites := []uint16(nil)
	if *maxTLS == 10 {
		suites = []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA}
	}
	return &tls.Config{
		Certificates:       []tls.Certificate{certificate()},
		CipherSuites:       suites,
		InsecureSkipVerify: true,
		MinVersion:         tls.VersionTLS10,
		MaxVersion:         version,
		NextProtos:         protocols,
	}
}

// Both ends of a connection, after the handshake.
func connect(listener net.Listener) (client, server *end) {
	accepted := make(chan net.Conn)
	go func() {
		conn, err := listener.Accept()
		must(err)
		accepted <- conn
	}()
	plain, err := net.Dial("tcp", listener.Addr().String())
	must(err)
	if *wrap {
		plain = &logged{"w", plain}
	}
	theirs := tls.Server(<-accepted, config())
	ours := tls.Client(plain, config())
	done := make(chan error)
	go func() { done <- theirs.Handshake() }()
	must(ours.Handshake())
	must(<-done)
	return watch(ours, "client"), watch(theirs, "server")
}

func listen() net.Listener {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	must(err)
	return listener
}

func message(conn, m, length int) []byte {
	data := []byte(fmt.Sprintf("conn=%d;message=%d;", conn, m))
	state := uint32(conn*7919 + m*104729 + 1)
	for len(data) < length {
		state = state*1664525 + 1013904223
		data = append(data, byte(state>>24))
	}
	return data
}

// One goroutine writes on each end, in the order of its messages, as net/http does it.
func (watched *end) writeAll() {
	for data := range watched.queue {
		_, err := watched.Write(data)
		must(err)
	}
	close(watched.done)
}

// A call that is still running when the process ends has no result that anybody could see.
func finishWriting() {
	for _, watched := range ends {
		close(watched.queue)
		<-watched.done
	}
}

// Sends from one end to the other, and demands that it comes.
func send(from, to *end, data []byte) {
	from.queue <- data
	got := make([]byte, len(data))
	_, err := io.ReadFull(to, got)
	must(err)
	if !bytes.Equal(got, data) {
		log.Fatal("something else came")
	}
}

func talk(client, server *end, conn int) {
	for m := 0; m < *messages; m++ {
		send(client, server, message(conn, m, *size))
		send(server, client, message(conn, m+1000, *size))
	}
}

func each(connections int, do func(conn int)) {
	var all sync.WaitGroup
	for conn := 0; conn < connections; conn++ {
		all.Add(1)
		go func(conn int) {
			defer all.Done()
			do(conn)
		}(conn)
	}
	all.Wait()
}

func raw() {
	each(*conns, func(conn int) {
		client, server := connect(listen())
		talk(client, server, conn)
		must(client.Close())
		must(server.Close())
	})
}

// All that Read and Write may be asked for.
func odd() {
	client, server := connect(listen())
	for _, empty := range [][]byte{nil, {}} {
		_, err := client.Write(empty)
		must(err)
		_, err = client.Read(empty)
		must(err)
	}
	sent := message(0, 0, 41)
	_, err := server.Write(sent)
	must(err)
	for got := 0; got < len(sent); {
		var part [4]byte
		n, err := client.Read(part[:])
		must(err)
		got += n
	}
	// io.Copy hands all of it to one Write.
	go func() {
		_, err := io.Copy(client, bytes.NewReader(message(0, 1, 200000)))
		must(err)
	}()
	_, err = io.CopyN(io.Discard, server, 200000)
	must(err)
	send(server, client, message(0, 2, 10_000_000))
	must(client.SetReadDeadline(time.Now().Add(20 * time.Millisecond)))
	_, err = client.Read(make([]byte, 10))
	var late net.Error
	if !errors.As(err, &late) || !late.Timeout() {
		log.Fatalf("no timeout: %v", err)
	}
	must(client.SetReadDeadline(time.Time{}))
	must(client.Close())
	if client.Close() == nil {
		log.Fatal("closed twice")
	}
	if _, err := client.Write([]byte("too late")); err == nil {
		log.Fatal("written after the end")
	}
	// The end of the stream comes with the last bytes, or alone.
	_, err = io.ReadAll(server)
	must(err)
	must(server.Close())
}

// The collector hands the memory of closed connections out again.
func reuse() {
	listener := listen()
	for conn := 0; conn < *conns; conn++ {
		client, server := connect(listener)
		talk(client, server, conn)
		must(client.Close())
		must(server.Close())
		client.Conn, server.Conn = nil, nil
		runtime.GC()
	}
}

// Both ends wait for data when the observer comes.
func blocked() {
	client, server := connect(listen())
	got := make(chan []byte, 2)
	for _, reader := range []*end{client, server} {
		go func(reader *end) {
			data := make([]byte, 1000)
			n, err := reader.Read(data)
			must(err)
			got <- data[:n]
		}(reader)
	}
	time.Sleep(300 * time.Millisecond)
	standStill()
	_, err := client.Write(message(0, 0, *size))
	must(err)
	<-got
	_, err = server.Write(message(0, 1, *size))
	must(err)
	<-got
	talk(client, server, 0)
}

// The buffer is on a stack that must grow while the call runs.
func stack() {
	client, server := connect(listen())
	for m := 0; m < *messages; m++ {
		_, err := server.Write(message(0, m, 250))
		must(err)
		done := make(chan struct{})
		go func() {
			defer close(done)
			var buffer [250]byte
			for got := 0; got < len(buffer); {
				got += readOnStack(client, &buffer, got)
			}
		}()
		<-done
	}
	must(client.Close())
	fmt.Println("moved", moved.Load())
}

var moved atomic.Int64

//go:noinline
func readOnStack(from *end, buffer *[250]byte, at int) int {
	var copied [250]byte
	// An address as a number, which the runtime does not adjust when it moves the stack.
	before := uintptr(unsafe.Pointer(&copied))
	n, err := from.Conn.Read(copied[at:])
	must(err)
	if uintptr(unsafe.Pointer(&copied)) != before {
		moved.Add(1)
	}
	from.mutex.Lock()
	from.read.Write(copied[at : at+n])
	from.mutex.Unlock()
	copy(buffer[at:], copied[at:at+n])
	return n
}

// TLS inside of TLS, as through an HTTPS proxy: a Write runs inside of a Write.
func nested() {
	client, server := connect(listen())
	inner := tls.Client(client.Conn, config())
	outer := tls.Server(server.Conn, config())
	done := make(chan error)
	go func() { done <- outer.Handshake() }()
	must(inner.Handshake())
	must(<-done)
	ends = nil
	number = map[string]int{}
	talk(watch(inner, "client"), watch(outer, "server"), 0)
}

type watchedListener struct{ net.Listener }

func (listener watchedListener) Accept() (net.Conn, error) {
	conn, err := listener.Listener.Accept()
	if err == nil {
		watch(conn.(*tls.Conn), "server")
	}
	return conn, err
}

// net/http's own client and server.
func web() {
	protocol := map[string]string{"h1": "http/1.1", "h2": "h2"}[*mode]
	listener := watchedListener{tls.NewListener(listen(), config(protocol))}
	server := &http.Server{Handler: http.HandlerFunc(func(answer http.ResponseWriter, request *http.Request) {
		body, err := io.ReadAll(request.Body)
		must(err)
		_, err = answer.Write(append([]byte("answer to "), body...))
		must(err)
	})}
	if *mode == "h2" {
		server.TLSConfig = config("h2")
	}
	go server.Serve(listener)
	transport := &http.Transport{
		TLSClientConfig:     config(protocol),
		ForceAttemptHTTP2:   *mode == "h2",
		MaxIdleConnsPerHost: *conns,
	}
	client := &http.Client{Transport: transport}
	var asked atomic.Int64
	each(*conns, func(conn int) {
		for m := 0; m < *messages; m++ {
			body := fmt.Sprintf("canary-%d-%d;%s", conn, m, bytes.Repeat([]byte("x"), *size))
			answer, err := client.Post("https://"+listener.Addr().String()+"/"+strconv.Itoa(m), "text/plain", bytes.NewReader([]byte(body)))
			must(err)
			if answer.Proto != map[string]string{"h1": "HTTP/1.1", "h2": "HTTP/2.0"}[*mode] {
				log.Fatal(answer.Proto)
			}
			got, err := io.ReadAll(answer.Body)
			must(err)
			must(answer.Body.Close())
			if string(got) != "answer to "+body {
				log.Fatal("another answer")
			}
			asked.Add(1)
		}
	})
	transport.CloseIdleConnections()
	// The server's goroutines see the end of their connections.
	time.Sleep(100 * time.Millisecond)
	must(server.Close())
	fmt.Println("asked", asked.Load())
}

// Talks until a line of input comes.
func load() {
	var stop atomic.Bool
	fmt.Println("ready")
	go func() {
		_, err := stdin.ReadString('\n')
		must(err)
		stop.Store(true)
	}()
	each(*conns, func(conn int) {
		client, server := connect(listen())
		for m := 0; !stop.Load(); m++ {
			send(client, server, message(conn, m, *size))
		}
	})
}
