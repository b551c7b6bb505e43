/*
 * Does to files all that can be done, in all ways to name them, and writes down what it did.
 *
 *     torture LOG DIR SEED THREADS RATE SECONDS
 *
 * Each thread works in a folder of its own, at RATE operations per second in all. One line in LOG for each operation:
 * its name, the error's number (0: none), a number (bytes, mode, or 0), and the paths, absolute and without links, in
 * hexadecimal, `-` for none. What is opened is closed at once. LOG is written at the end.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

/* Names that want to be something else. */
static const char *const NAMES[] = {
	"plain", "two words", "quote\"s", "back\\slash", "new\nline", "tab\t", "{\"type\":\"file.unlink\"}",
	"\xff\xfe bytes", "\xe2\x80\xaertl", ".hidden", "..almost", "very-long-name-very-long-name-very-long-name-very-long-name",
};
#define NAMES_N (sizeof(NAMES) / sizeof(NAMES[0]))

struct log {
	char *text;
	size_t len, room;
};

struct worker {
	pthread_t thread;
	int number, dir;
	uint64_t random;
	char base[PATH_MAX]; /* its folder */
	char link[PATH_MAX]; /* a symbolic link to `sub` in it */
	struct log log;
	uint64_t done;
};

static int threads, rate, seconds;
static const char *root;

static uint64_t next(struct worker *w)
{
	w->random ^= w->random << 13;
	w->random ^= w->random >> 7;
	w->random ^= w->random << 17;
	return w->random;
}

static void put(struct log *log, const char *text, size_t len)
{
	if (log->len + len > log->room) {
		log->room = (log->room + len) * 2;
		log->text = realloc(log->text, log->room);
		if (!log->text)
			abort();
	}
	memcpy(log->text + log->len, text, len);
	log->len += len;
}

static void put_path(struct log *log, const char *path)
{
	char hex[3];

	put(log, "\t", 1);
	if (!path)
		put(log, "-", 1);
	for (; path && *path; path++) {
		snprintf(hex, sizeof(hex), "%02x", (unsigned char)*path);
		put(log, hex, 2);
	}
}

static void note(struct worker *w, const char *op, int failed, long number, const char *path, const char *other)
{
	char line[80];
	int len = snprintf(line, sizeof(line), "%s\t%d\t%ld", op, failed ? errno : 0, number);

	put(&w->log, line, len);
	put_path(&w->log, path);
	put_path(&w->log, other);
	put(&w->log, "\n", 1);
	w->done++;
}

/* A name in the worker's folder, or the one below: the true path, and one of the ways to say it. */
struct named {
	char path[3 * PATH_MAX];
	char said[3 * PATH_MAX];
	int dir;
};

static void name(struct worker *w, struct named *n, const char *what)
{
	const char *last = NAMES[next(w) % NAMES_N];
	int in_sub = next(w) % 2;
	char leaf[300];

	snprintf(leaf, sizeof(leaf), "%s-%s", what, last);
	snprintf(n->path, sizeof(n->path), "%s%s/%s", w->base, in_sub ? "/sub" : "", leaf);
	n->dir = AT_FDCWD;
	switch (next(w) % 7) {
	case 0:
		strcpy(n->said, n->path);
		break;
	case 1: /* from the working directory, which is all threads' */
		snprintf(n->said, sizeof(n->said), "%d%s/%s", w->number, in_sub ? "/sub" : "", leaf);
		break;
	case 2:
		n->dir = w->dir;
		snprintf(n->said, sizeof(n->said), "%s%s", in_sub ? "sub/" : "", leaf);
		break;
	case 3:
		n->dir = w->dir;
		snprintf(n->said, sizeof(n->said), "./%s.//%s", in_sub ? "sub/" : "", leaf);
		break;
	case 4: /* up and down again */
		n->dir = w->dir;
		snprintf(n->said, sizeof(n->said), "../%d/%s%s", w->number, in_sub ? "sub/" : "", leaf);
		break;
	case 5: /* through a link; `..` behind it is not where it came from */
		if (in_sub)
			snprintf(n->said, sizeof(n->said), "%s/%s", w->link, leaf);
		else
			snprintf(n->said, sizeof(n->said), "%s/../%s", w->link, leaf);
		break;
	default:
		snprintf(n->said, sizeof(n->said), "//%s", n->path + 1);
	}
}

static void write_file(struct worker *w)
{
	static const char bytes[5000];
	struct named n;
	size_t len = next(w) % sizeof(bytes);
	struct iovec pieces[2] = { { (char *)bytes, len / 2 }, { (char *)bytes, len - len / 2 } };
	int flags = O_WRONLY | O_CREAT | (next(w) % 2 ? O_TRUNC : O_APPEND), fd, copy;
	ssize_t written = 0;

	name(w, &n, "file");
	fd = openat(n.dir, n.said, flags, 0644);
	note(w, "open", fd < 0, 0, n.path, NULL);
	if (fd < 0)
		return;
	switch (next(w) % 4) {
	case 0:
		written = write(fd, bytes, len);
		break;
	case 1:
		written = writev(fd, pieces, 2);
		break;
	case 2:
		written = pwrite(fd, bytes, len, 3);
		break;
	default:
		copy = dup(fd);
		written = write(copy, bytes, len);
		close(copy);
	}
	close(fd);
	if (written > 0)
		note(w, "write", 0, written, n.path, NULL);
}

static void map_file(struct worker *w)
{
	struct named n;
	void *at;
	int fd;

	name(w, &n, "file");
	fd = openat(n.dir, n.said, O_RDWR | O_CREAT, 0644);
	note(w, "open", fd < 0, 0, n.path, NULL);
	if (fd < 0)
		return;
	if (ftruncate(fd, 4096) == 0)
		note(w, "truncate", 0, 4096, n.path, NULL);
	at = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	note(w, "mmap", at == MAP_FAILED, 4096, n.path, NULL);
	if (at != MAP_FAILED)
		munmap(at, 4096);
	close(fd);
}

static void names_only(struct worker *w)
{
	struct named n, o;
	char target[100];

	name(w, &n, "file");
	name(w, &o, next(w) % 2 ? "file" : "moved");
	switch (next(w) % 10) {
	case 0:
		note(w, "rename", renameat(n.dir, n.said, o.dir, o.said), 0, n.path, o.path);
		break;
	case 1:
		note(w, "unlink", unlinkat(n.dir, n.said, 0), 0, n.path, NULL);
		break;
	case 2:
		note(w, "link", linkat(n.dir, n.said, o.dir, o.said, 0), 0, n.path, o.path);
		break;
	case 3:
		name(w, &n, "link");
		snprintf(target, sizeof(target), "somewhere/%d", (int)(next(w) % 100));
		note(w, "symlink", symlinkat(target, n.dir, n.said), 0, n.path, NULL);
		break;
	case 4:
		name(w, &n, "link");
		note(w, "unlink", unlinkat(n.dir, n.said, 0), 0, n.path, NULL);
		break;
	case 5:
		name(w, &n, "folder");
		note(w, "mkdir", mkdirat(n.dir, n.said, 0750), 0750, n.path, NULL);
		break;
	case 6:
		name(w, &n, "folder");
		note(w, "rmdir", unlinkat(n.dir, n.said, AT_REMOVEDIR), 0, n.path, NULL);
		break;
	case 7:
		note(w, "chmod", fchmodat(n.dir, n.said, 0640, 0), 0640, n.path, NULL);
		break;
	case 8:
		note(w, "chown", fchownat(n.dir, n.said, 0, 0, 0), 0, n.path, NULL);
		break;
	default:
		name(w, &n, "pipe");
		note(w, "mknod", mknodat(n.dir, n.said, S_IFIFO | 0600, 0), 0600, n.path, NULL);
		note(w, "unlink", unlinkat(n.dir, n.said, 0), 0, n.path, NULL);
	}
}

static double now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return time.tv_sec + time.tv_nsec / 1e9;
}

static void *work(void *argument)
{
	struct worker *w = argument;
	double began = now(), each = (double)threads / rate;

	while (now() - began < seconds) {
		if (w->done * each > now() - began) {
			usleep(500);
			continue;
		}
		switch (next(w) % 4) {
		case 0:
			write_file(w);
			break;
		case 1:
			if (next(w) % 8 == 0)
				map_file(w);
			break;
		default:
			names_only(w);
		}
	}
	return NULL;
}

static void prepare(struct worker *w, int number, uint64_t seed)
{
	char path[PATH_MAX + 8];

	w->number = number;
	w->random = seed * 0x9e3779b97f4a7c15ULL + number + 1;
	snprintf(w->base, sizeof(w->base), "%s/%d", root, number);
	snprintf(w->link, sizeof(w->link), "%s/to-%d", root, number);
	note(w, "mkdir", mkdir(w->base, 0755), 0755, w->base, NULL);
	snprintf(path, sizeof(path), "%s/sub", w->base);
	note(w, "mkdir", mkdir(path, 0755), 0755, path, NULL);
	if (symlink(path, w->link))
		exit(1);
	w->dir = open(w->base, O_PATH | O_DIRECTORY);
}

int main(int argc, char **argv)
{
	struct worker *workers;
	FILE *log;

	if (argc != 7)
		return 2;
	root = argv[2];
	threads = atoi(argv[4]);
	rate = atoi(argv[5]);
	seconds = atoi(argv[6]);
	workers = calloc(threads, sizeof(*workers));
	if (chdir(root))
		return 1;
	umask(0);
	for (int i = 0; i < threads; i++)
		prepare(&workers[i], i, atoll(argv[3]));
	for (int i = 0; i < threads; i++)
		pthread_create(&workers[i].thread, NULL, work, &workers[i]);
	for (int i = 0; i < threads; i++)
		pthread_join(workers[i].thread, NULL);
	log = fopen(argv[1], "w");
	for (int i = 0; i < threads && log; i++)
		fwrite(workers[i].log.text, 1, workers[i].log.len, log);
	return log && !fclose(log) ? 0 : 1;
}
