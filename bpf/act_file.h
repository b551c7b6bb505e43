/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * What processes do to files. All of it is looked at when the system call returns: by then the kernel has read the
 * program's strings, so their pages are there, and an open file says itself where it is.
 */
#pragma once

#define AT_FDCWD -100
#define O_ACCMODE 3
#define O_CREAT 0100
#define FMODE_WRITE 2
#define FMODE_CREATED 0x100000
#define PROT_WRITE 2
#define MAP_TYPE 15
#define MAP_SHARED 1
#define MAP_SHARED_VALIDATE 3
#define MAP_ANONYMOUS 32
#define NAME_BYTES 32 /* of a name that is compared with those that are watched */

/* Names of files whose reading is told: what they begin with, what they end with (from the last byte on), and what the
 * directory's begins with. User space compares the whole path. It alone writes. */
struct watched_name {
	__u32 bits;
	char name[NAME_BYTES];
};

#define WATCHED_MAP(map)                              \
	struct {                                      \
		__uint(type, BPF_MAP_TYPE_LPM_TRIE);  \
		__uint(map_flags, BPF_F_NO_PREALLOC); \
		__type(key, struct watched_name);     \
		__type(value, __u8);                  \
		__uint(max_entries, WATCHED_MAX);     \
	} map SEC(".maps")

WATCHED_MAP(watched_begins);
WATCHED_MAP(watched_ends);
WATCHED_MAP(watched_parents);

/* Some pattern says nothing of names. */
const volatile bool watches_all = false;

static __always_inline bool begins_watched(void *map, struct dentry *dentry)
{
	struct watched_name key = { .bits = NAME_BYTES * 8 };

	bpf_probe_read_kernel_str(key.name, NAME_BYTES, BPF_CORE_READ(dentry, d_name.name));
	return bpf_map_lookup_elem(map, &key);
}

static __always_inline bool ends_watched(struct dentry *dentry)
{
	struct watched_name key = { .bits = NAME_BYTES * 8 };
	const unsigned char *name = BPF_CORE_READ(dentry, d_name.name);
	__u32 len = BPF_CORE_READ(dentry, d_name.len);
	char last[NAME_BYTES] = {};
	__u32 count = len < NAME_BYTES ? len : NAME_BYTES;

	if (!count || bpf_probe_read_kernel(last, count, name + (len - count)))
		return false;
	for (__u32 i = 0; i < NAME_BYTES; i++)
		if (i < count)
			key.name[i] = last[(count - 1 - i) & (NAME_BYTES - 1)];
	return bpf_map_lookup_elem(&watched_ends, &key);
}

static __noinline int is_watched(struct file *file)
{
	struct dentry *dentry;

	if (watches_all)
		return true;
	dentry = BPF_CORE_READ(file, f_path.dentry);
	return begins_watched(&watched_begins, dentry) ||
	       begins_watched(&watched_parents, BPF_CORE_READ(dentry, d_parent)) ||
	       ends_watched(dentry);
}

/* What a path that the program gave starts from, unless it starts from the root. */
static __noinline int add_base(struct act_record *record, __u32 index, __s32 dir, __u32 text)
{
	struct file *file;

	if (!record)
		return 0;
	if (record->act.lens[text & (ACT_TEXTS - 1)] &&
	    record->texts[(record->header.len - record->act.lens[text & (ACT_TEXTS - 1)]) &
			  TEXTS_MASK] == '/')
		return 0;
	if (dir == AT_FDCWD)
		return add_cwd(record, index);
	file = file_of(dir);
	return file ? add_file_path(record, index, file) : 0;
}

/* Which arguments of a system call are what; counted from 1, 0: there is none. */
struct path_call {
	__u8 act;
	__u8 dir; /* descriptor that the path starts from */
	__u8 path;
	__u8 dir2;
	__u8 path2;
	__u8 value;
	__u8 value2;
	__u8 is_target; /* `path2` is what the new link says: a text, not a place */
};

static __noinline int tell_path_call(const struct process_key *process,
				     const struct path_call *call, struct pt_regs *regs,
				     __s64 result)
{
	struct act_record *record;

	if (!process || !call || !regs)
		return 0;
	if (result >= 0 && call->act == ACT_EXEC_FAILED)
		return 0;
	record = own_act(process, call->act);
	if (!record)
		return 0;
	record->act.result = result;
	record->act.value[0] = syscall_argument(regs, call->value);
	record->act.value[1] = syscall_argument(regs, call->value2);
	add_user_text(record, 0, syscall_argument(regs, call->path));
	add_base(record, 1, call->dir ? (__s32)syscall_argument(regs, call->dir) : AT_FDCWD, 0);
	if (call->path2) {
		add_user_text(record, 2, syscall_argument(regs, call->path2));
		if (!call->is_target)
			add_base(record, 3,
				 call->dir2 ? (__s32)syscall_argument(regs, call->dir2) : AT_FDCWD,
				 2);
	}
	return tell_act(record);
}

/* What is done to an open file. */
static __noinline int tell_file_call(const struct process_key *process, __u16 act,
				     struct pt_regs *regs, __s64 result)
{
	struct act_record *record;
	struct file *file;
	__s32 fd;

	if (!process || !regs)
		return 0;
	fd = syscall_argument(regs, 1);
	file = file_of(fd);
	if (!file)
		return 0;
	record = own_act(process, act);
	if (!record)
		return 0;
	record->header.fd = fd;
	record->act.result = result;
	record->act.value[0] = syscall_argument(regs, 2);
	record->act.value[1] = syscall_argument(regs, 3);
	identify_file(file, &record->act.file);
	add_file_path(record, 0, file);
	return tell_act(record);
}

/* A file was opened; `flags` tells more. */
static __noinline int tell_open(const struct process_key *process, struct file *file, __s32 fd,
				__u16 flags)
{
	struct act_record *record;

	if (!process || !file)
		return 0;
	record = own_act(process, ACT_OPEN);
	if (!record)
		return 0;
	record->header.fd = fd;
	record->act.result = fd;
	record->act.flags = flags;
	record->act.value[0] = BPF_CORE_READ(file, f_flags);
	record->act.value[1] = BPF_CORE_READ(file, f_mode);
	record->act.value[2] = BPF_CORE_READ(file, f_inode, i_mode);
	record->act.value[3] = BPF_CORE_READ(file, f_inode, i_size);
	identify_file(file, &record->act.file);
	add_file_path(record, 0, file);
	return tell_act(record);
}

/* Devices that are written all the time, and keep nothing: null, zero, full; terminals. */
static __always_inline bool is_sink(struct file *file, __u16 mode)
{
	__u32 device = BPF_CORE_READ(file, f_inode, i_rdev);
	__u32 major = device >> 20, minor = device & 0xfffff;

	if ((mode & S_IFMT) != S_IFCHR)
		return false;
	return (major == 1 && (minor == 3 || minor == 5 || minor == 7)) || major == 4 ||
	       major == 5 || (major >= 136 && major < 144);
}

static __noinline int file_opened(const struct process_key *process, struct file *file, __s32 fd)
{
	__u32 mode = BPF_CORE_READ(file, f_mode);
	__u16 kind = BPF_CORE_READ(file, f_inode, i_mode);
	struct file_id id = {};

	if (mode & (FMODE_WRITE | FMODE_CREATED)) {
		if (is_sink(file, kind))
			return 0;
		/* Another thread may have closed it, and has not come to its return. */
		end_others(process->tgid, fd, 0);
		tell_open(process, file, fd, 0);
		if ((kind & S_IFMT) == S_IFREG)
			new_descriptor(process, fd, file, 0);
		return 0;
	}
	if ((kind & S_IFMT) != S_IFREG)
		return 0;
	identify_file(file, &id);
	if (is_written(&id))
		tell_open(process, file, fd, ACT_FLAG_WRITTEN);
	else if (is_watched(file))
		tell_open(process, file, fd, ACT_FLAG_WATCHED);
	return 0;
}

/* Bytes went into an open file, and out of a pipe. */
static __noinline int file_written(const struct process_key *process, __s32 fd, struct file *file,
				   __u64 n)
{
	struct descriptor *known = find_descriptor(process->tgid, fd, file);

	if (!known) {
		known = new_descriptor(process, fd, file, ACT_FLAG_INHERITED);
		tell_open(process, file, fd, ACT_FLAG_INHERITED);
	}
	if (!known)
		return 0;
	if (!known->calls)
		note_written(&known->id);
	__sync_fetch_and_add(&known->bytes[0], n);
	__sync_fetch_and_add(&known->calls, 1);
	if (bpf_ktime_get_boot_ns() - known->told_ns >= TELL_EACH_NS)
		tell_descriptor(ACT_USER_PROCESS, known, fd, 0);
	return 0;
}
