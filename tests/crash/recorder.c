/* What a process does to the files of one folder, and what it sends on TCP sockets, in one order.
 *
 * Preloaded into the server. Each record is written to the log before the next one can begin, so that a later
 * record never happened before an earlier one as far as another thread could tell:
 *
 *   a write, truncation, opening, removal or renaming is recorded once it has returned;
 *   a sync is recorded when it begins and again when it has succeeded: what was recorded before its beginning is
 *   on the disk after its end;
 *   a sending is recorded before it begins, and again with what the kernel took of it.
 *
 * So the recording errs on one side only: towards less on the disk and more acknowledged than there was.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#define DESCRIPTORS 65536
#define PARTS 1026

struct __attribute__((packed)) head {
    uint8_t kind;
    int64_t where;  /* a handle, or the port of a peer */
    int64_t number; /* an offset, a size, a flag, or what an end has in common with its beginning */
    uint32_t length;
};

static int64_t handle_of[DESCRIPTORS]; /* 0: not in the folder */
static int64_t latest_handle, latest_number;
static int log_fd = -1;
static char folder[4096];
static size_t folder_length;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static void record_parts(uint8_t kind, int64_t where, int64_t number, const struct iovec *parts, int count)
{
    struct iovec all[PARTS];
    struct head head = {kind, where, number, 0};
    if (log_fd < 0)
        return;
    if (count > PARTS - 1)
        abort();
    all[0].iov_base = &head;
    all[0].iov_len = sizeof head;
    for (int each = 0; each < count; each++) {
        all[each + 1] = parts[each];
        head.length += (uint32_t)parts[each].iov_len;
    }
    pthread_mutex_lock(&lock);
    long done = syscall(SYS_writev, log_fd, all, count + 1);
    pthread_mutex_unlock(&lock);
    if (done != (long)(sizeof head + head.length))
        abort(); /* a recording with a gap would prove nothing */
}

static void record(uint8_t kind, int64_t where, int64_t number, const void *content, size_t length)
{
    struct iovec part = {(void *)content, length};
    int said = errno;
    record_parts(kind, where, number, &part, 1);
    errno = said;
}

static int64_t next(int64_t *counter)
{
    return __atomic_add_fetch(counter, 1, __ATOMIC_SEQ_CST);
}

static int64_t handle(int fd)
{
    return fd >= 0 && fd < DESCRIPTORS ? handle_of[fd] : 0;
}

/* The path within the folder: "" is the folder itself, NULL is elsewhere. */
static const char *within(const char *path)
{
    if (log_fd < 0 || path == NULL || strncmp(path, folder, folder_length) != 0)
        return NULL;
    path += folder_length;
    return *path == '\0' ? path : *path == '/' ? path + 1 : NULL;
}

__attribute__((constructor)) static void begin(void)
{
    const char *log = getenv("CRASH_RECORDER_LOG"), *watched = getenv("CRASH_RECORDER_FOLDER");
    if (log == NULL || watched == NULL || strlen(watched) >= sizeof folder)
        return;
    strcpy(folder, watched);
    folder_length = strlen(folder);
    log_fd = (int)syscall(SYS_openat, AT_FDCWD, log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
}

#define REAL(name) ((__typeof__(&name))real(&real_##name, #name))
static void *real(void **kept, const char *name)
{
    if (*kept == NULL)
        *kept = dlsym(RTLD_NEXT, name);
    return *kept;
}
#define KEEP(name) static void *real_##name

static int opened(int fd, const char *path, int existed)
{
    const char *name = within(path);
    if (fd >= 0 && fd < DESCRIPTORS) {
        handle_of[fd] = name == NULL ? 0 : next(&latest_handle);
        if (name != NULL)
            record('O', handle_of[fd], !existed, name, strlen(name));
    }
    return fd;
}

static int exists(const char *path)
{
    return within(path) != NULL && access(path, F_OK) == 0;
}

#define OPENING(name)                                           \
    KEEP(name);                                                 \
    int name(const char *path, int flags, ...)                  \
    {                                                           \
        va_list rest;                                           \
        va_start(rest, flags);                                  \
        mode_t mode = va_arg(rest, mode_t);                     \
        va_end(rest);                                           \
        int existed = exists(path);                             \
        return opened(REAL(name)(path, flags, mode), path, existed); \
    }
OPENING(open)
OPENING(open64)

KEEP(close);
int close(int fd)
{
    if (handle(fd) != 0)
        handle_of[fd] = 0;
    return REAL(close)(fd);
}

static ssize_t written(int fd, const void *content, int64_t offset, ssize_t count)
{
    if (count > 0)
        record('W', handle(fd), offset, content, (size_t)count);
    return count;
}

KEEP(pwrite);
ssize_t pwrite(int fd, const void *content, size_t count, off_t offset)
{
    ssize_t done = REAL(pwrite)(fd, content, count, offset);
    return handle(fd) == 0 ? done : written(fd, content, offset, done);
}

KEEP(pwrite64);
ssize_t pwrite64(int fd, const void *content, size_t count, off64_t offset)
{
    ssize_t done = REAL(pwrite64)(fd, content, count, offset);
    return handle(fd) == 0 ? done : written(fd, content, offset, done);
}

#define TRUNCATING(name, size_type)                          \
    KEEP(name);                                              \
    int name(int fd, size_type size)                         \
    {                                                        \
        int failed = REAL(name)(fd, size);                   \
        if (!failed && handle(fd) != 0)                      \
            record('T', handle(fd), size, "", 0);            \
        return failed;                                       \
    }
TRUNCATING(ftruncate, off_t)
TRUNCATING(ftruncate64, off64_t)

#define SYNCING(name)                                        \
    KEEP(name);                                              \
    int name(int fd)                                         \
    {                                                        \
        int64_t file = handle(fd), number = 0;               \
        if (file != 0) {                                     \
            number = next(&latest_number);                   \
            record('S', file, number, "", 0);                \
        }                                                    \
        int failed = REAL(name)(fd);                         \
        if (!failed && file != 0)                            \
            record('F', file, number, "", 0);                \
        return failed;                                       \
    }
SYNCING(fsync)
SYNCING(fdatasync)

KEEP(unlink);
int unlink(const char *path)
{
    int failed = REAL(unlink)(path);
    const char *name = within(path);
    if (!failed && name != NULL)
        record('U', 0, 0, name, strlen(name));
    return failed;
}

KEEP(rename);
int rename(const char *from, const char *to)
{
    int failed = REAL(rename)(from, to);
    const char *old = within(from), *new = within(to);
    if (!failed && old != NULL && new != NULL) {
        struct iovec names[3] = {{(void *)old, strlen(old)}, {"/", 1}, {(void *)new, strlen(new)}};
        record_parts('R', 0, 0, names, 3);
    }
    return failed;
}

/* The peer's port where the descriptor is a TCP connection, else 0. */
static int64_t port_of(int fd)
{
    struct sockaddr_storage peer;
    socklen_t length = sizeof peer;
    int said = errno;
    int failed = log_fd < 0 || getpeername(fd, (struct sockaddr *)&peer, &length);
    errno = said;
    if (failed || peer.ss_family != AF_INET)
        return 0;
    return ntohs(((struct sockaddr_in *)&peer)->sin_port);
}

static int64_t sending(int64_t port, const struct iovec *parts, int count)
{
    int64_t number = next(&latest_number);
    record_parts('N', port, number, parts, count);
    return number;
}

static ssize_t sent(int64_t number, ssize_t count)
{
    int64_t taken = count < 0 ? 0 : count;
    record('M', taken, number, "", 0);
    return count;
}

KEEP(write);
ssize_t write(int fd, const void *content, size_t count)
{
    if (handle(fd) != 0) {
        off_t offset = lseek(fd, 0, SEEK_CUR);
        return written(fd, content, offset, REAL(write)(fd, content, count));
    }
    int64_t port = port_of(fd);
    if (port == 0)
        return REAL(write)(fd, content, count);
    struct iovec part = {(void *)content, count};
    int64_t number = sending(port, &part, 1);
    return sent(number, REAL(write)(fd, content, count));
}

KEEP(writev);
ssize_t writev(int fd, const struct iovec *parts, int count)
{
    int64_t port = port_of(fd);
    if (port == 0)
        return REAL(writev)(fd, parts, count);
    int64_t number = sending(port, parts, count);
    return sent(number, REAL(writev)(fd, parts, count));
}

KEEP(send);
ssize_t send(int fd, const void *content, size_t count, int flags)
{
    int64_t port = port_of(fd);
    if (port == 0)
        return REAL(send)(fd, content, count, flags);
    struct iovec part = {(void *)content, count};
    int64_t number = sending(port, &part, 1);
    return sent(number, REAL(send)(fd, content, count, flags));
}

KEEP(sendmsg);
ssize_t sendmsg(int fd, const struct msghdr *message, int flags)
{
    int64_t port = port_of(fd);
    if (port == 0)
        return REAL(sendmsg)(fd, message, flags);
    int64_t number = sending(port, message->msg_iov, (int)message->msg_iovlen);
    return sent(number, REAL(sendmsg)(fd, message, flags));
}
