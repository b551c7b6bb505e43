// Calls the generated functions f0, f1, … from several threads and from inside of each other, and writes
// down what came of each call: one line, in the order in which the calls of a thread returned. Everything but
// the line that names addresses and threads is the same in each run.
#define _GNU_SOURCE
#include <inttypes.h>
#include <pthread.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define DEPTH 3
#define OBJECTS (DEPTH * 2)
#define ROOM 512
#define LENGTH_MAX 256

// generator.rs has the same places.
struct object {
	uint8_t flags[8];
	uint32_t counter;
	int32_t retries;
	uint64_t unused;
	void (*hook)(struct object *);
};
_Static_assert(offsetof(struct object, hook) == 24, "as generator.rs has it");

typedef int watched(struct object *, uint8_t *, int);
extern watched *const functions[];
extern const unsigned function_count;

struct thread {
	pthread_t handle;
	uint64_t random;
	int number, tid, depth, quiet;
	struct object objects[OBJECTS];
	// A gap after each: a buffer's end is not the next one's beginning.
	uint8_t buffers[DEPTH][2 * ROOM];
	FILE *log;
	char *text;
	size_t size;
};

static __thread struct thread *self;
static int calls;

static uint64_t next(void)
{
	uint64_t z = self->random += 0x9e3779b97f4a7c15;
	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
	z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
	return z ^ (z >> 31);
}

static uint64_t hash_of(const uint8_t *bytes, size_t size)
{
	uint64_t hash = 0xcbf29ce484222325;
	for (size_t i = 0; i < size; i++)
		hash = (hash ^ bytes[i]) * 0x100000001b3;
	return hash;
}

static void call(struct object *object)
{
	unsigned function = next() % function_count;
	uint8_t *buffer = self->buffers[self->depth];
	int length = next() % LENGTH_MAX, quiet = self->quiet, result;
	uint64_t flags = next();

	if (next() % 16 == 0)
		length = -(int)(next() % 8);
	memcpy(object->flags, &flags, sizeof(flags));
	for (int i = 0; i < ROOM; i++)
		buffer[i] = next();
	self->depth++;
	// With such a length, whatever is called from inside would lie in the same buffer.
	self->quiet |= length < 0;
	result = functions[function](object, buffer, length);
	self->quiet = quiet;
	self->depth--;
	fprintf(self->log, "%d f%u %d %d %d ", self->number, function,
		(int)(object - self->objects), length, result);
	if (result > 0 && (uint32_t)result <= (uint32_t)length)
		fprintf(self->log, "%016" PRIx64, hash_of(buffer, result));
	else
		fputs("-", self->log);
	fputs("\n", self->log);
}

// What the functions call in the middle: sometimes another function, with the same object or another one.
static void hook(struct object *object)
{
	if (self->depth >= DEPTH || self->quiet || next() % 3)
		return;
	if (next() % 2)
		object = &self->objects[next() % OBJECTS];
	call(object);
}

static void *run(void *arg)
{
	self = arg;
	self->tid = gettid();
	self->log = open_memstream(&self->text, &self->size);
	for (int i = 0; i < calls; i++) {
		struct object *object = &self->objects[next() % OBJECTS];
		for (int other = 0; other < OBJECTS; other++)
			self->objects[other].hook = hook;
		object->retries = next() % 3;
		call(object);
	}
	fclose(self->log);
	return NULL;
}

int main(int argc, char **argv)
{
	int count = argc > 2 ? atoi(argv[2]) : 1;
	struct thread *threads = calloc(count, sizeof(*threads));

	calls = argc > 1 ? atoi(argv[1]) : 1;
	for (int i = 0; i < count; i++) {
		threads[i].number = i;
		threads[i].random = 1000 + i;
		pthread_create(&threads[i].handle, NULL, run, &threads[i]);
	}
	for (int i = 0; i < count; i++)
		pthread_join(threads[i].handle, NULL);
	for (int i = 0; i < count; i++) {
		printf("thread %d %p %zu\n", threads[i].tid, (void *)threads[i].objects,
		       sizeof(struct object));
	}
	for (int i = 0; i < count; i++)
		fputs(threads[i].text, stdout);
	return 0;
}
