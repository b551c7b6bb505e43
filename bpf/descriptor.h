/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Descriptors through which processes that are followed write files or speak to others: how many bytes went through each
 * since that was last told. Nothing is told of each write; what is told is never later than a second after it, and never
 * after the descriptor's end.
 *
 * A descriptor is known by process, number and open file: others may share a process's table, and close what it opened.
 */
#pragma once

#define TELL_EACH_NS 1000000000ULL

enum descriptor_sort {
	DESCRIPTOR_FILE = 1,
	DESCRIPTOR_SOCKET = 2,
	DESCRIPTOR_PIPE = 3, /* standard streams only: pipes, and sockets of one machine */
};

/* What went through, and where a packet goes to or comes from if the program says so. */
struct packet {
	__u64 buf;
	__u64 n;
	__u64 address;
	__u64 address_len;
};

/* Which open file is behind a number. The file is in it: a number is another one's as soon as it is closed, and threads
 * come to the ends of their calls in any order. */
struct descriptor_key {
	__u32 tgid;
	__s32 fd;
	__u64 file; /* struct file */
};

struct descriptor {
	struct process_key process;
	struct file_id id;
	__u64 bytes[2]; /* by direction; of files, since they were last told */
	__u64 calls;
	__u64 told_ns;
	__u64 type; /* of a socket: type | protocol << 32 */
	__u64 told; /* of a pipe: bytes */
	__u64 peer; /* the last address that was sent to, as a number */
	struct socket_names names;
	__u32 sort;
	__u32 flags;  /* enum agentsight_act_flag */
	__s32 stream; /* of a pipe: which of the standard ones */
	__u32 pad;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__type(key, struct descriptor_key);
	__type(value, struct descriptor);
	__uint(max_entries, DESCRIPTORS_MAX);
} descriptors SEC(".maps");

/* The open file that was last seen behind a number. */
struct number_key {
	__u32 tgid;
	__s32 fd;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__type(key, struct number_key);
	__type(value, __u64);
	__uint(max_entries, DESCRIPTORS_MAX);
} numbers SEC(".maps");

/* What is told and gone, while it is told. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__type(key, __u32);
	__type(value, struct descriptor);
	__uint(max_entries, 1);
} taken SEC(".maps");

/* The highest number of a process's descriptors in that table. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__type(key, __u32);
	__type(value, __u32);
	__uint(max_entries, TRACKED_MAX);
} highest SEC(".maps");

/* Files that processes wrote that are followed. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__type(key, struct file_id);
	__type(value, __u8);
	__uint(max_entries, WRITTEN_MAX);
} written SEC(".maps");

static __always_inline bool is_written(const struct file_id *id)
{
	return bpf_map_lookup_elem(&written, id) != NULL;
}

static __always_inline void note_written(const struct file_id *id)
{
	__u8 yes = 1;

	if (!bpf_map_lookup_elem(&written, id))
		bpf_map_update_elem(&written, id, &yes, BPF_ANY);
}

/* Tells what went through a descriptor since that was last told. */
static __noinline int tell_descriptor(__u32 user, struct descriptor *descriptor, __s32 fd,
				      __u16 flags)
{
	struct act_record *record;
	__u64 bytes[2];

	if (!descriptor)
		return 0;
	record = new_act(user, descriptor->sort == DESCRIPTOR_FILE ? ACT_WRITTEN : ACT_FLOW);
	if (!record)
		return 0;
	if (user == ACT_USER_PROCESS) {
		fill_caller(&record->header, &descriptor->process);
	} else {
		record->header.ts_ns = bpf_ktime_get_boot_ns();
		record->header.process_start = descriptor->process.start_ns;
		record->header.pid = record->header.tid = descriptor->process.tgid;
	}
	record->header.fd = descriptor->sort == DESCRIPTOR_PIPE ? descriptor->stream : fd;
	record->act.file = descriptor->id;
	record->act.flags = descriptor->flags | flags;
	bytes[0] = descriptor->bytes[0];
	bytes[1] = descriptor->bytes[1];
	if (descriptor->sort == DESCRIPTOR_FILE) {
		record->act.value[0] = bytes[0];
		record->act.value[1] = descriptor->calls;
		/* Other threads write meanwhile. */
		__sync_fetch_and_add(&descriptor->bytes[0], -bytes[0]);
		__sync_fetch_and_add(&descriptor->calls, -record->act.value[1]);
	} else {
		record->act.value[0] = descriptor->type;
		record->act.value[1] = descriptor->id.ino;
		record->act.value[2] = bytes[0];
		record->act.value[3] = bytes[1];
		record->act.result = descriptor->told;
		bpf_probe_read_kernel(record->texts, sizeof(descriptor->names), &descriptor->names);
		end_text(record, 1, sizeof(descriptor->names), TEXT_PLAIN);
	}
	descriptor->told_ns = record->header.ts_ns;
	return tell_act(record);
}

/* The last word on a descriptor. Whoever deletes it tells it, and nobody else. */
static __noinline int end_descriptor(__u32 tgid, __s32 fd, __u64 file)
{
	struct descriptor_key key = { .tgid = tgid, .fd = fd, .file = file };
	struct descriptor *known = bpf_map_lookup_elem(&descriptors, &key), *copy;
	__u32 zero = 0;

	copy = bpf_map_lookup_elem(&taken, &zero);
	if (!known || !copy)
		return 0;
	*copy = *known;
	if (!bpf_map_delete_elem(&descriptors, &key))
		tell_descriptor(ACT_USER_PROCESS, copy, fd, ACT_FLAG_CLOSED);
	return 0;
}

/* What was behind this number is not there any more, unless it is `file`. */
static __noinline int end_others(__u32 tgid, __s32 fd, __u64 file)
{
	struct number_key key = { .tgid = tgid, .fd = fd };
	__u64 *known = bpf_map_lookup_elem(&numbers, &key), old;

	if (!known || *known == file)
		return 0;
	old = *known;
	bpf_map_delete_elem(&numbers, &key);
	end_descriptor(tgid, fd, old);
	return 0;
}

/* Descriptors from one number on. */
struct descriptor_range {
	__u32 tgid;
	__u32 from;
	__u32 to;
	bool only_closed;
};

static long end_one(__u32 round, struct descriptor_range *range)
{
	__s32 fd = range->from + round;

	if (range->from + round > range->to)
		return 1;
	end_others(range->tgid, fd, range->only_closed ? (__u64)file_of(fd) : 0);
	return 0;
}

static __noinline int end_range(struct descriptor_range *range)
{
	__u32 *last;

	if (!range)
		return 0;
	last = bpf_map_lookup_elem(&highest, &range->tgid);
	if (!last)
		return 0;
	if (range->to > *last)
		range->to = *last;
	if (use_bpf_loop) {
		bpf_loop(DESCRIPTOR_NUMBERS_MAX, end_one, range, 0);
	} else {
		for (__u32 round = 0; round < FDS_MAX_UNROLLED; round++)
			if (end_one(round, range))
				break;
	}
	return 0;
}

/* The process has ended: so have its descriptors. */
static __always_inline void end_descriptors(__u32 tgid)
{
	struct descriptor_range range = { .tgid = tgid, .to = ~0U };

	end_range(&range);
	bpf_map_delete_elem(&highest, &tgid);
}

/* It has begun another program, for which some were closed. */
static __always_inline void end_closed_descriptors(__u32 tgid)
{
	struct descriptor_range range = { .tgid = tgid, .to = ~0U, .only_closed = true };

	end_range(&range);
}

static __always_inline void note_highest(__u32 tgid, __u32 fd)
{
	__u32 *last = bpf_map_lookup_elem(&highest, &tgid);

	if (!last)
		bpf_map_update_elem(&highest, &tgid, &fd, BPF_ANY);
	else if (*last < fd)
		*last = fd;
}

/*
 * What was open as a program's standard descriptors when it began. Some move it to other numbers at once, so that nothing
 * else writes there: servers of MCP do. The inode is compared, too, since the addresses of open files are used again.
 */
struct standard_files {
	__u64 files[3];
	__u64 inodes[3];
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__type(key, struct process_key);
	__type(value, struct standard_files);
	__uint(max_entries, PROCESSES_MAX);
} standard_files SEC(".maps");

static __always_inline void note_standard_files(const struct process_key *process)
{
	struct process_key who = { .start_ns = process->start_ns, .tgid = process->tgid };
	struct standard_files found = {};

	for (__u32 fd = 0; fd < 3; fd++) {
		struct file *file = file_of(fd);

		found.files[fd] = (__u64)file;
		if (file)
			found.inodes[fd] = BPF_CORE_READ(file, f_inode, i_ino);
	}
	bpf_map_update_elem(&standard_files, &who, &found, BPF_ANY);
}

/* Which standard stream an open file is; -1: none. */
static __always_inline __s32 stream_of(const struct process_key *process, struct file *file,
				       __s32 fd)
{
	struct process_key who = { .start_ns = process->start_ns, .tgid = process->tgid };
	struct standard_files *known;
	__u64 inode;

	if (fd < 3)
		return fd;
	known = bpf_map_lookup_elem(&standard_files, &who);
	if (!known)
		return -1;
	inode = BPF_CORE_READ(file, f_inode, i_ino);
	for (__s32 stream = 0; stream < 3; stream++)
		if (known->files[stream] == (__u64)file && known->inodes[stream] == inode)
			return stream;
	return -1;
}

static __always_inline __u32 sort_of(struct file *file, __s32 stream, __u16 mode)
{
	struct socket *socket;
	__u16 family;

	if ((mode & S_IFMT) == S_IFREG)
		return DESCRIPTOR_FILE;
	if ((mode & S_IFMT) == S_IFIFO)
		return stream >= 0 ? DESCRIPTOR_PIPE : 0;
	if ((mode & S_IFMT) != S_IFSOCK)
		return 0;
	socket = BPF_CORE_READ(file, private_data);
	family = BPF_CORE_READ(socket, sk, __sk_common.skc_family);
	if (family == AF_UNIX && stream >= 0)
		return DESCRIPTOR_PIPE;
	return DESCRIPTOR_SOCKET;
}

static __always_inline void note_socket(struct descriptor *descriptor, struct file *file)
{
	struct socket *socket = BPF_CORE_READ(file, private_data);
	struct sock *sock = BPF_CORE_READ(socket, sk);

	descriptor->type = pair(BPF_CORE_READ(sock, sk_type),
				BPF_CORE_READ(sock, sk_protocol) |
					(__u32)BPF_CORE_READ(sock, __sk_common.skc_family) << 16);
	fill_addresses(&descriptor->names, sock);
	descriptor->names.inode = descriptor->id.ino;
}

/* Makes an entry for an open file of the process that runs. */
static __noinline struct descriptor *new_descriptor(const struct process_key *process, __s32 fd,
						    struct file *file, __u32 flags)
{
	struct descriptor_key key = { .fd = fd, .file = (__u64)file };
	struct number_key number = { .fd = fd };
	struct descriptor fresh = { .flags = flags };

	if (!process || !file)
		return NULL;
	number.tgid = key.tgid = process->tgid;
	fresh.process = *process;
	fresh.told_ns = bpf_ktime_get_boot_ns();
	identify_file(file, &fresh.id);
	fresh.stream = stream_of(process, file, fd);
	fresh.sort = sort_of(file, fresh.stream, BPF_CORE_READ(file, f_inode, i_mode));
	if (!fresh.sort)
		return NULL;
	if (fd >= DESCRIPTOR_NUMBERS_MAX) {
		count(COUNT_DESCRIPTORS_FULL, 1);
		return NULL;
	}
	if (fresh.sort == DESCRIPTOR_SOCKET)
		note_socket(&fresh, file);
	if (bpf_map_update_elem(&descriptors, &key, &fresh, BPF_ANY) ||
	    bpf_map_update_elem(&numbers, &number, &key.file, BPF_ANY)) {
		count(COUNT_DESCRIPTORS_FULL, 1);
		return NULL;
	}
	note_highest(key.tgid, fd);
	return bpf_map_lookup_elem(&descriptors, &key);
}

/* The entry of this open file, if there is one; what was behind the number before is told. */
static __always_inline struct descriptor *find_descriptor(__u32 tgid, __s32 fd, struct file *file)
{
	struct descriptor_key key = { .tgid = tgid, .fd = fd, .file = (__u64)file };

	end_others(tgid, fd, key.file);
	return bpf_map_lookup_elem(&descriptors, &key);
}

/*
 * Run by user space each second over `descriptors`, and before it ends: tells what nobody has told. An entry outlives its
 * process if a number is given again while another thread tells of its closing: `numbers` is not changed atomically.
 */
SEC("iter/bpf_map_elem")
int sweep_descriptors(struct bpf_iter__bpf_map_elem *ctx)
{
	struct descriptor_key *at = ctx->key, key;
	struct descriptor *known;

	if (!at)
		return 0;
	key = *at;
	known = bpf_map_lookup_elem(&descriptors, &key);
	if (!known)
		return 0;
	if (!find_tracked(&known->process)) {
		tell_descriptor(ACT_USER_SWEEP, known, key.fd, ACT_FLAG_CLOSED);
		bpf_map_delete_elem(&descriptors, &key);
	} else if (known->sort == DESCRIPTOR_FILE && known->calls) {
		tell_descriptor(ACT_USER_SWEEP, known, key.fd, 0);
	}
	return 0;
}
