/*
 * Makes processes, many of them, and writes down each: by itself, in memory that all of them share.
 *
 *     crowds LOG chain LEVELS EVERY TINY   each forks the next, and waits for it; every EVERYth runs this program anew
 *     crowds LOG bomb LIMIT TINY           as another user, all fork until the LIMIT of processes is reached
 *     crowds LOG short TIMES EVERY TINY    TIMES processes that end at once; every EVERYth runs TINY, which ends with 7
 *     crowds LOG threads TIMES TINY        TIMES processes of two threads that end at the same moment
 *
 * LOG holds a count, the number of forks that failed, and as many of `struct entry`.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define ENTRIES_MAX (1 << 18)
#define LOG_FD 100
#define LANES 4
#define OTHER_USER 54321

struct entry {
	uint32_t pid, parent;
	uint64_t start; /* in ticks, as /proc/PID/stat has it */
	uint32_t code;  /* its end */
	uint32_t execs;
};

struct log {
	uint64_t count;
	uint64_t failed; /* forks, for want of room */
	struct entry entries[ENTRIES_MAX];
};

static struct log *entries;

static void must(int result, const char *what)
{
	if (result < 0) {
		perror(what);
		exit(1);
	}
}

static void map_log(const char *path)
{
	int fd;

	if (path) {
		fd = open(path, O_RDWR | O_CREAT, 0600);
		must(fd, path);
		must(ftruncate(fd, sizeof(struct log)), "ftruncate");
		must(dup2(fd, LOG_FD), "dup2");
		close(fd);
	}
	entries = mmap(NULL, sizeof(struct log), PROT_READ | PROT_WRITE, MAP_SHARED, LOG_FD, 0);
	must(entries == MAP_FAILED ? -1 : 0, "mmap");
}

/* This very process, which has just been made. */
static struct entry *note(uint32_t code, uint32_t execs)
{
	struct entry *own = &entries->entries[__sync_fetch_and_add(&entries->count, 1)];
	char text[1024], *at;
	int fd = open("/proc/self/stat", O_RDONLY);
	ssize_t len;

	must(fd, "/proc/self/stat");
	len = read(fd, text, sizeof(text) - 1);
	close(fd);
	text[len > 0 ? len : 0] = 0;
	/* Behind the name: the state is field 3, the start field 22. */
	at = strrchr(text, ')') + 1;
	for (int field = 2; field < 21; field++)
		at = strchr(at + 1, ' ');
	own->pid = getpid();
	own->parent = getppid();
	own->start = strtoull(at, NULL, 10);
	own->code = code;
	own->execs = execs;
	return own;
}

/* As level `level` of the chain, told of already. */
static int go_down(int level, int levels, int every)
{
	char numbers[3][16];
	int status;
	pid_t child;

	if (level == levels)
		return level % 200;
	child = fork();
	must(child, "fork");
	if (child) {
		must(waitpid(child, &status, 0), "waitpid");
		return level % 200;
	}
	level++;
	note(level % 200, level % every == 0);
	if (level % every)
		_exit(go_down(level, levels, every));
	snprintf(numbers[0], 16, "%d", levels);
	snprintf(numbers[1], 16, "%d", every);
	snprintf(numbers[2], 16, "%d", level);
	execl("/proc/self/exe", "crowds", "-", "chain", numbers[0], numbers[1], numbers[2], "-", NULL);
	_exit(1);
}

/* Enough: the limit was reached often enough, or there have been more than there can be at once. */
static int is_over(int limit)
{
	return entries->failed >= 100 || entries->count >= (uint64_t)limit;
}

static void explode(int limit)
{
	struct rlimit most = { limit, limit };
	pid_t first = getpid();
	int ends[2];
	char byte;

	must(pipe(ends), "pipe");
	must(setrlimit(RLIMIT_NPROC, &most), "setrlimit");
	must(setresuid(OTHER_USER, OTHER_USER, OTHER_USER), "setresuid");
	while (!is_over(limit)) {
		pid_t child = fork();

		if (child < 0) {
			__sync_fetch_and_add(&entries->failed, 1);
			usleep(1000);
		} else if (!child) {
			note(0, 0);
		}
	}
	/* All stay until the first one has seen it. */
	close(ends[1]);
	if (getpid() != first && read(ends[0], &byte, 1) < 0)
		_exit(1);
	while (wait(NULL) > 0)
		;
}

static void run_short(int number, int every, const char *tiny)
{
	int runs = number % every == 0;

	note(runs ? 7 : number % 200, runs);
	if (runs) {
		execl(tiny, "tiny", NULL);
		_exit(1);
	}
	_exit(number % 200);
}

static volatile int waiting;

static void *leave(void *unused)
{
	__sync_fetch_and_add(&waiting, -1);
	for (int rounds = 0; waiting > 0; rounds++)
		if (rounds > 1000)
			sched_yield();
	syscall(SYS_exit, 3);
	return unused;
}

/* All leave at once, so that the last one is any of them. */
static void run_threads(void)
{
	pthread_t thread;

	note(3, 0);
	waiting = 2;
	must(-pthread_create(&thread, NULL, leave, NULL), "thread");
	leave(NULL);
}

/* In lanes, so that there are many at once, but not too many. */
static void make(int lanes, int times, int every, const char *tiny)
{
	for (int lane = 0; lane < lanes; lane++) {
		if (fork())
			continue;
		note(0, 0);
		for (int i = lane; i < times; i += lanes) {
			pid_t child = fork();

			must(child, "fork");
			if (!child && !tiny)
				run_threads();
			if (!child)
				run_short(i, every, tiny);
			must(waitpid(child, NULL, 0), "waitpid");
		}
		_exit(0);
	}
	while (wait(NULL) > 0)
		;
}

int main(int argc, char **argv)
{
	const char *mode = argc > 3 ? argv[2] : "";

	map_log(argc < 2 || !strcmp(argv[1], "-") ? NULL : argv[1]);
	if (!strcmp(mode, "chain") && argc == 6)
		return go_down(0, atoi(argv[3]), atoi(argv[4]));
	if (!strcmp(mode, "chain") && argc == 7)
		return go_down(atoi(argv[5]), atoi(argv[3]), atoi(argv[4]));
	if (!strcmp(mode, "bomb"))
		explode(atoi(argv[3]));
	else if (!strcmp(mode, "short") && argc == 6)
		make(LANES, atoi(argv[3]), atoi(argv[4]), argv[5]);
	else if (!strcmp(mode, "threads"))
		make(1, atoi(argv[3]), 1, NULL);
	else
		return 2;
	return 0;
}
