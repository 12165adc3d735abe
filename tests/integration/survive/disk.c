/* A disk that lies, fails or remembers: put before the C library (LD_PRELOAD) of one process.
 *
 * DISK_DIR    only what lies below this directory is touched
 * DISK_MODE   lazy        sync_file_range, which promises nothing, does nothing
 *             nosync      so, and fdatasync says that it is done, and does nothing
 *             enospc:N    the Nth operation that needs room, and each one after it, finds none
 *             eio:N       the Nth sync fails, once
 *             record      every change is noted in DISK_TRACE
 * DISK_TRACE  enospc and eio: how many operations there were; record: the notes
 * DISK_MARKS  record: what is written to this file is noted too, as marks
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

enum { CREATE = 1, MKDIR, WRITE, TRUNCATE, SYNC, RENAME, UNLINK, MARK };
enum { OFF, LAZY, NOSYNC, ENOSPC_AT, EIO_AT, RECORD };
enum { NOT_OURS, OURS, MARKS };
#define FDS 4096

static int mode, trace = -1;
static long limit, count;
static const char *dir, *marks;
static char kind_of[FDS];
static pthread_mutex_t lock = PTHREAD_RECURSIVE_MUTEX_INITIALIZER_NP;

__attribute__((constructor)) static void begin(void) {
    const char *how = getenv("DISK_MODE"), *path = getenv("DISK_TRACE");
    dir = getenv("DISK_DIR");
    marks = getenv("DISK_MARKS");
    if (!dir || !how) return;
    if (!strcmp(how, "lazy")) mode = LAZY;
    else if (!strcmp(how, "nosync")) mode = NOSYNC;
    else if (!strncmp(how, "enospc:", 7)) mode = ENOSPC_AT, limit = atol(how + 7);
    else if (!strncmp(how, "eio:", 4)) mode = EIO_AT, limit = atol(how + 4);
    else if (!strcmp(how, "record")) mode = RECORD;
    if (path) trace = syscall(SYS_openat, AT_FDCWD, path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
}

static int below(const char *path) {
    size_t length = strlen(dir);
    return !strncmp(path, dir, length) && (path[length] == '/' || !path[length]);
}

/* The whole path of what a call names; 0: it cannot be told. */
static int resolve(int at, const char *path, char *whole) {
    if (path[0] == '/') return snprintf(whole, PATH_MAX, "%s", path) < PATH_MAX;
    char link[64], base[PATH_MAX];
    if (at == AT_FDCWD) snprintf(link, sizeof link, "/proc/self/cwd");
    else snprintf(link, sizeof link, "/proc/self/fd/%d", at);
    ssize_t length = readlink(link, base, sizeof base - 1);
    if (length < 0) return 0;
    base[length] = 0;
    return snprintf(whole, PATH_MAX, "%s/%s", base, path) < PATH_MAX;
}

static int ours(int at, const char *path, char *whole) {
    return mode && resolve(at, path, whole) && below(whole);
}

static int kind(int fd) { return mode && fd >= 0 && fd < FDS ? kind_of[fd] : NOT_OURS; }

static uint64_t inode(const char *path) {
    struct stat s;
    return lstat(path, &s) ? 0 : s.st_ino;
}

static uint64_t inode_of(int fd) {
    struct stat s;
    return fstat(fd, &s) ? 0 : s.st_ino;
}

static uint64_t parent(const char *path) {
    char up[PATH_MAX];
    snprintf(up, sizeof up, "%s", path);
    char *slash = strrchr(up, '/');
    if (slash) *slash = 0;
    return inode(up);
}

static const char *name(const char *path) {
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

/* Notes: kind, three numbers, a length, as many bytes. */
static void note(uint64_t what, uint64_t a, uint64_t b, uint64_t c, const void *bytes, uint64_t length) {
    if (mode != RECORD || trace < 0) return;
    uint64_t head[5] = {what, a, b, c, length};
    struct iovec parts[2] = {{head, sizeof head}, {(void *)bytes, length}};
    if (syscall(SYS_writev, trace, parts, 2) != (ssize_t)(sizeof head + length)) abort();
}

static int counted(int fails, int error) {
    count++;
    char text[32];
    int length = snprintf(text, sizeof text, "%19ld\n", count);
    if (trace >= 0 && (ftruncate(trace, 0) || syscall(SYS_write, trace, text, length) != length)) abort();
    if (fails) errno = error;
    return fails;
}

static int no_room(void) { return mode == ENOSPC_AT && counted(count + 1 >= limit, ENOSPC); }

#define REAL(result, name, ...) \
    static result (*real)(__VA_ARGS__); \
    if (!real) real = (result (*)(__VA_ARGS__))dlsym(RTLD_NEXT, name)
#define GUARDED pthread_mutex_lock(&lock)
#define DONE(result) do { int kept = errno; pthread_mutex_unlock(&lock); errno = kept; return result; } while (0)

static int opened(int at, const char *path, int flags, mode_t permissions) {
    char whole[PATH_MAX];
    GUARDED;
    int mine = ours(at, path, whole);
    int new = mine && (flags & O_CREAT) && access(whole, F_OK);
    if (new && no_room()) DONE(-1);
    int fd = syscall(SYS_openat, at, path, flags, permissions);
    if (fd >= 0 && fd < FDS) kind_of[fd] = NOT_OURS;
    if (fd >= 0 && fd < FDS && mine) {
        kind_of[fd] = OURS;
        if (new) note(CREATE, parent(whole), inode_of(fd), 0, name(whole), strlen(name(whole)));
        else if (flags & O_TRUNC) note(TRUNCATE, inode_of(fd), 0, 0, "", 0);
    } else if (fd >= 0 && fd < FDS && mode == RECORD && marks && resolve(at, path, whole) && !strcmp(whole, marks)) {
        kind_of[fd] = MARKS;
    }
    DONE(fd);
}

#define OPEN(symbol) \
    int symbol(const char *path, int flags, ...) { \
        va_list rest; va_start(rest, flags); \
        mode_t permissions = flags & (O_CREAT | O_TMPFILE) ? va_arg(rest, mode_t) : 0; \
        va_end(rest); \
        return opened(AT_FDCWD, path, flags, permissions); \
    }
OPEN(open)
OPEN(open64)
#define OPENAT(symbol) \
    int symbol(int at, const char *path, int flags, ...) { \
        va_list rest; va_start(rest, flags); \
        mode_t permissions = flags & (O_CREAT | O_TMPFILE) ? va_arg(rest, mode_t) : 0; \
        va_end(rest); \
        return opened(at, path, flags, permissions); \
    }
OPENAT(openat)
OPENAT(openat64)

static ssize_t written(int fd, const void *bytes, size_t length, off64_t at, int positioned) {
    int mine = kind(fd);
    GUARDED;
    if (mine == OURS && no_room()) DONE(-1);
    if (mine == OURS && !positioned)
        at = fcntl(fd, F_GETFL) & O_APPEND ? lseek64(fd, 0, SEEK_END) : lseek64(fd, 0, SEEK_CUR);
    ssize_t done = positioned ? syscall(SYS_pwrite64, fd, bytes, length, at) : syscall(SYS_write, fd, bytes, length);
    if (done > 0 && mine == OURS) note(WRITE, inode_of(fd), at, 0, bytes, done);
    if (done > 0 && mine == MARKS) note(MARK, 0, 0, 0, bytes, done);
    DONE(done);
}

ssize_t write(int fd, const void *bytes, size_t length) {
    if (!kind(fd)) return syscall(SYS_write, fd, bytes, length);
    return written(fd, bytes, length, 0, 0);
}
ssize_t writev(int fd, const struct iovec *parts, int number) {
    if (!kind(fd)) return syscall(SYS_writev, fd, parts, number);
    for (int part = 0; part < number; part++)
        if (parts[part].iov_len) return written(fd, parts[part].iov_base, parts[part].iov_len, 0, 0);
    return 0;
}
ssize_t pwrite(int fd, const void *bytes, size_t length, off_t at) {
    if (!kind(fd)) return syscall(SYS_pwrite64, fd, bytes, length, at);
    return written(fd, bytes, length, at, 1);
}
ssize_t pwrite64(int fd, const void *bytes, size_t length, off64_t at) { return pwrite(fd, bytes, length, at); }

int ftruncate(int fd, off_t size) {
    int mine = kind(fd) == OURS;
    GUARDED;
    if (mine && no_room()) DONE(-1);
    int done = syscall(SYS_ftruncate, fd, size);
    if (!done && mine) note(TRUNCATE, inode_of(fd), size, 0, "", 0);
    DONE(done);
}
int ftruncate64(int fd, off64_t size) { return ftruncate(fd, size); }

static int synced(long call, int fd) {
    int mine = kind(fd) == OURS;
    GUARDED;
    if (mine && mode == NOSYNC && call == SYS_fdatasync) DONE(0);
    if (mine && mode == EIO_AT && counted(count + 1 == limit, EIO)) DONE(-1);
    int done = syscall(call, fd);
    if (!done && mine) note(SYNC, inode_of(fd), 0, 0, "", 0);
    DONE(done);
}
int fsync(int fd) { return synced(SYS_fsync, fd); }
int fdatasync(int fd) { return synced(SYS_fdatasync, fd); }

int sync_file_range(int fd, off64_t from, off64_t length, unsigned flags) {
    if (kind(fd) == OURS && (mode == LAZY || mode == NOSYNC)) return 0;
    return syscall(SYS_sync_file_range, fd, from, length, flags);
}

int close(int fd) {
    if (fd >= 0 && fd < FDS) kind_of[fd] = NOT_OURS;
    return syscall(SYS_close, fd);
}

int rename(const char *from, const char *to) {
    char old[PATH_MAX], new[PATH_MAX], names[2 * NAME_MAX + 2];
    GUARDED;
    int mine = ours(AT_FDCWD, from, old) && ours(AT_FDCWD, to, new);
    uint64_t moved = mine ? inode(old) : 0;
    int done = syscall(SYS_renameat2, AT_FDCWD, from, AT_FDCWD, to, 0);
    if (!done && mine) {
        int length = snprintf(names, sizeof names, "%s/%s", name(old), name(new));
        note(RENAME, parent(old), parent(new), moved, names, length);
    }
    DONE(done);
}

static int removed(int at, const char *path, int flags) {
    char whole[PATH_MAX];
    GUARDED;
    int mine = ours(at, path, whole);
    int done = syscall(SYS_unlinkat, at, path, flags);
    if (!done && mine) note(UNLINK, parent(whole), 0, 0, name(whole), strlen(name(whole)));
    DONE(done);
}
int unlink(const char *path) { return removed(AT_FDCWD, path, 0); }
int unlinkat(int at, const char *path, int flags) { return removed(at, path, flags); }
int rmdir(const char *path) { return removed(AT_FDCWD, path, AT_REMOVEDIR); }

int mkdir(const char *path, mode_t permissions) {
    char whole[PATH_MAX];
    GUARDED;
    int mine = ours(AT_FDCWD, path, whole);
    if (mine && access(whole, F_OK) && no_room()) DONE(-1);
    int done = syscall(SYS_mkdirat, AT_FDCWD, path, permissions);
    if (!done && mine) note(MKDIR, parent(whole), inode(whole), 0, name(whole), strlen(name(whole)));
    DONE(done);
}
