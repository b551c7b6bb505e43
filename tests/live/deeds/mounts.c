/*
 * Works on files where paths are not what they seem: behind mounts, in roots of its own, in directories that are moved
 * meanwhile; and writes down where each file was by the kernel's own word.
 *
 *     mounts LOG here DIR...      in these directories
 *     mounts LOG all DIR          in mounts and roots that it makes below DIR, in mount namespaces of its own
 *
 * One line in LOG for each operation: its name, the error (0: none), bytes, the paths in hexadecimal (`-`: none), and the
 * file's device and inode (`-`: unknown). The path is what /proc/self/fd says of the open file, or of the directory
 * that the name is in.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

#define PATH_ROOM (2 * PATH_MAX)

static int fds; /* /proc/self/fd, from before any chroot */
static FILE *out;
/* Where each descriptor's file was when it was opened. */
static char opened[64][PATH_ROOM];

static void must(int result, const char *what)
{
	if (result < 0) {
		perror(what);
		exit(1);
	}
}

static void put_hex(const char *text)
{
	fputs(text ? "\t" : "\t-", out);
	for (; text && *text; text++)
		fprintf(out, "%02x", (unsigned char)*text);
}

static void note(const char *what, long result, long bytes, const char *path, const char *to, int fd)
{
	struct stat file;

	fprintf(out, "%s\t%s\t%ld", what, result < 0 ? strerrorname_np(errno) : "0", bytes);
	put_hex(path);
	put_hex(to);
	if (fd >= 0 && !fstat(fd, &file))
		fprintf(out, "\t%u:%u\t%lu\n", major(file.st_dev), minor(file.st_dev), file.st_ino);
	else
		fputs("\t-\t-\n", out);
}

/* Where an open file is. */
static void where(int fd, char *path)
{
	static const char gone[] = " (deleted)";
	char number[16];
	ssize_t len;

	snprintf(number, sizeof(number), "%d", fd);
	len = readlinkat(fds, number, path, PATH_ROOM - 1);
	must(len, "readlinkat");
	path[len] = 0;
	len -= sizeof(gone) - 1;
	if (len > 0 && !strcmp(path + len, gone))
		path[len] = 0;
}

/* Where a name is: its directory, and its last part. */
static char *spot(int dir, const char *said)
{
	const char *last = strrchr(said, '/');
	char *parent = last ? strndup(said, last - said + 1) : strdup(".");
	char *path = malloc(PATH_ROOM);
	int fd = openat(dir, parent, O_PATH | O_DIRECTORY), saved = errno;

	must(fd, parent);
	where(fd, path);
	close(fd);
	free(parent);
	if (strcmp(path, "/"))
		strcat(path, "/");
	strcat(path, last ? last + 1 : said);
	errno = saved;
	return path;
}

/* After the call: what it did does not move the directory of the name. */
static void named(const char *what, long result, int dir, const char *said, int dir2, const char *said2)
{
	int error = errno;
	char *path = spot(dir, said), *to = said2 ? spot(dir2, said2) : NULL;

	errno = error;
	note(what, result, 0, path, to, -1);
	free(path);
	free(to);
}

static int make(int dir, const char *said, int flags)
{
	int fd = openat(dir, said, flags, 0644);

	if (fd < 0) {
		named("open", fd, dir, said, 0, NULL);
		return fd;
	}
	where(fd, opened[fd]);
	note("open", 0, 0, opened[fd], NULL, fd);
	return fd;
}

static void done(int fd, const char *what, long result)
{
	char path[PATH_ROOM];

	where(fd, path);
	note(what, result, 0, path, NULL, fd);
}

/* Written and closed. It is told of the file as it was opened. */
static void end(int fd, size_t bytes)
{
	static const char zeros[1000];

	if (fd < 0)
		return;
	must(write(fd, zeros, bytes), "write");
	note("write", 0, bytes, opened[fd], NULL, fd);
	close(fd);
}

static void by_name(int dir, int sub)
{
	named("rename", renameat(sub, "deep/x", dir, "x"), sub, "deep/x", dir, "x");
	named("link", linkat(sub, "after", dir, "linked", 0), sub, "after", dir, "linked");
	named("symlink", symlinkat("after", sub, "sym"), sub, "sym", 0, NULL);
	named("unlink", unlinkat(sub, "after", 0), sub, "after", 0, NULL);
	named("unlink", unlinkat(sub, "nothing", 0), sub, "nothing", 0, NULL);
	named("mknod", mknodat(sub, "pipe", S_IFIFO | 0600, 0), sub, "pipe", 0, NULL);
	named("chmod", fchmodat(sub, "pipe", 0640, 0), sub, "pipe", 0, NULL);
	named("chown", fchownat(sub, "../x", 0, 0, 0), sub, "../x", 0, NULL);
	named("truncate", truncate("linked", 7), AT_FDCWD, "linked", 0, NULL);
	named("rmdir", unlinkat(sub, "deep", AT_REMOVEDIR), sub, "deep", 0, NULL);
}

/* In a directory that is removed below us. */
static void in_nothing(int dir)
{
	named("mkdir", mkdirat(dir, "gone", 0755), dir, "gone", 0, NULL);
	must(fchdir(dir) ?: chdir("gone"), "gone");
	named("rmdir", unlinkat(dir, "gone", AT_REMOVEDIR), dir, "gone", 0, NULL);
	make(AT_FDCWD, "x", O_WRONLY | O_CREAT);
	must(fchdir(dir), "back");
}

/* All ways to name files in a directory, one of which is moved while they are open. */
static void work(const char *base)
{
	int made = O_RDWR | O_CREAT | O_EXCL, dir, sub, open[8];
	char path[PATH_ROOM];
	void *at;

	dir = openat(AT_FDCWD, base, O_PATH | O_DIRECTORY);
	must(dir, base);
	must(chdir(base), base);
	named("mkdir", mkdirat(dir, "d", 0755), dir, "d", 0, NULL);
	open[0] = make(AT_FDCWD, "d/relative", made);
	open[1] = make(dir, "d/at", made);
	must(chdir("d"), "d");
	open[2] = make(AT_FDCWD, "../up", made);
	open[3] = make(AT_FDCWD, "./in", made);
	snprintf(path, sizeof(path), "%s/d/absolute", base);
	open[4] = make(AT_FDCWD, path, made);
	must(fchdir(dir), base);
	open[5] = make(AT_FDCWD, "d/again", made);
	sub = openat(dir, "d", O_PATH | O_DIRECTORY);
	named("rename", renameat(AT_FDCWD, "d", dir, "moved"), AT_FDCWD, "d", dir, "moved");
	done(open[0], "truncate", ftruncate(open[0], 4096));
	done(open[1], "chmod", fchmod(open[1], 0600));
	done(open[3], "chown", fchown(open[3], 0, 0));
	at = mmap(NULL, 4096, PROT_WRITE, MAP_SHARED, open[0], 0);
	done(open[0], "mmap", at == MAP_FAILED ? -1 : 0);
	open[6] = make(sub, "after", made);
	named("mkdir", mkdirat(sub, "deep", 0755), sub, "deep", 0, NULL);
	must(fchdir(sub), "sub");
	open[7] = make(AT_FDCWD, "deep/x", made);
	must(chdir(".."), "..");
	for (int i = 0; i < 8; i++)
		end(open[i], 100 + i);
	by_name(dir, sub);
	in_nothing(dir);
	close(dir);
	close(sub);
}

static char *below(const char *dir, const char *name)
{
	char *path;

	must(asprintf(&path, "%s/%s", dir, name), "asprintf");
	return path;
}

/* The same without a word of it: it is no part of what is compared. */
static char *quietly(const char *dir, const char *name)
{
	char *path = below(dir, name);

	must(prctl(PR_SET_NAME, "setup"), "prctl");
	must(mkdir(path, 0755), path);
	must(prctl(PR_SET_NAME, "mounts"), "prctl");
	return path;
}

static void touch(const char *path)
{
	int fd;

	must(prctl(PR_SET_NAME, "setup"), "prctl");
	fd = open(path, O_WRONLY | O_CREAT, 0644);
	must(fd, path);
	close(fd);
	must(prctl(PR_SET_NAME, "mounts"), "prctl");
}

static void in_binds(const char *dir)
{
	char *from = quietly(dir, "from"), *to = quietly(dir, "to"), *one, *other;

	must(mount(from, to, NULL, MS_BIND, NULL), "bind");
	work(to);
	work(quietly(from, "beside"));
	/* The same file by either name; and no way from one mount to the other. */
	one = below(from, "up");
	other = below(to, "other");
	end(make(AT_FDCWD, below(to, "up"), O_WRONLY), 11);
	end(make(AT_FDCWD, one, O_WRONLY), 12);
	named("rename", rename(one, other), AT_FDCWD, one, AT_FDCWD, other);
	named("link", link(one, other), AT_FDCWD, one, AT_FDCWD, other);
	/* One file over another. */
	touch(other);
	must(mount(one, other, NULL, MS_BIND, NULL), "bind of a file");
	end(make(AT_FDCWD, other, O_WRONLY), 13);
}

static void in_tmpfs(const char *dir)
{
	char *outer = quietly(dir, "tmpfs"), *inner;
	int fd;

	must(mount("none", outer, "tmpfs", 0, NULL), "tmpfs");
	work(outer);
	inner = quietly(outer, "inner");
	must(mount("none", inner, "tmpfs", 0, NULL), "tmpfs");
	must(mount("none", inner, "tmpfs", 0, NULL), "tmpfs over it");
	work(inner);
	fd = make(AT_FDCWD, below(inner, "left"), O_WRONLY | O_CREAT);
	must(chdir("/") ?: umount2(inner, MNT_DETACH), "umount");
	done(fd, "truncate", ftruncate(fd, 10));
	end(fd, 14);
}

static void in_overlay(const char *dir)
{
	char *all = quietly(dir, "overlay"), *lower, *upper, *scratch, *merged, *options;

	/* An overlay may not be above another one. */
	must(mount("none", all, "tmpfs", 0, NULL), "tmpfs");
	lower = quietly(all, "lower");
	upper = quietly(all, "upper");
	scratch = quietly(all, "scratch");
	merged = quietly(all, "merged");
	touch(below(lower, "low"));
	must(asprintf(&options, "lowerdir=%s,upperdir=%s,workdir=%s", lower, upper, scratch), "options");
	must(mount("none", merged, "overlay", 0, options), "overlay");
	end(make(AT_FDCWD, below(merged, "low"), O_WRONLY | O_APPEND), 15);
	work(merged);
}

/* In a root of its own, which is a mount or is none, and out of it through a descriptor. */
static void in_root(const char *dir, int is_mount)
{
	char *root = quietly(dir, is_mount ? "mounted-root" : "root");
	int outside = open(dir, O_PATH | O_DIRECTORY);

	quietly(root, "in");
	if (is_mount)
		must(mount(root, root, NULL, MS_BIND, NULL), "bind");
	must(is_mount ? chdir(root) ?: chroot(".") : chroot(root), "chroot");
	work("/in");
	work("/");
	end(make(outside, is_mount ? "escaped-2" : "escaped-1", O_WRONLY | O_CREAT), 16);
}

/* So deep that no path leads there, and none comes back. */
static void in_depth(const char *dir)
{
	char name[101];

	memset(name, 'x', sizeof(name) - 1);
	name[sizeof(name) - 1] = 0;
	must(chdir(quietly(dir, "deep")), "deep");
	must(prctl(PR_SET_NAME, "setup"), "prctl");
	for (int i = 0; i < 30; i++)
		must(mkdir(name, 0755) ?: chdir(name), name);
	must(prctl(PR_SET_NAME, "mounts"), "prctl");
	end(make(AT_FDCWD, "bottom", O_WRONLY | O_CREAT), 17);
}

static void in_child(void (*place)(const char *), const char *dir)
{
	int status;

	fflush(out);
	if (!fork()) {
		must(unshare(CLONE_NEWNS), "unshare");
		must(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL), "private");
		/* /proc/self is another one now. */
		fds = open("/proc/self/fd", O_PATH | O_DIRECTORY);
		place(dir);
		fflush(out);
		_exit(0);
	}
	wait(&status);
	if (status)
		exit(1);
}

static void in_plain_root(const char *dir)
{
	in_root(dir, 0);
}

static void in_mounted_root(const char *dir)
{
	in_root(dir, 1);
}

int main(int argc, char **argv)
{
	if (argc < 4 || !(out = fopen(argv[1], "a")))
		return 2;
	umask(0);
	fds = open("/proc/self/fd", O_PATH | O_DIRECTORY);
	if (!strcmp(argv[2], "all")) {
		in_child(in_binds, argv[3]);
		in_child(in_tmpfs, argv[3]);
		in_child(in_overlay, argv[3]);
		in_child(in_plain_root, argv[3]);
		in_child(in_mounted_root, argv[3]);
		in_child(in_depth, argv[3]);
		return 0;
	}
	for (int i = 3; i < argc; i++)
		work(argv[i]);
	return fclose(out) ? 1 : 0;
}
