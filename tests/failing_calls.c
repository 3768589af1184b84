/* Preloaded into a process: calls on the files below FAILING_FOLDER fail while the file FAILING_CALLS is there, which has
 * the call's name (fsync, read, write), the number of the error, and how many milliseconds the call takes before: as in
 * "fsync 5 0", or, for one that is slow and succeeds, "fsync 0 500". See faulty_disk.py. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <unistd.h>

static int error_for(const char *call, int fd) {
    char text[64] = "", name[16], link[64], path[4096] = "";
    int number, wait_ms, saved = errno, control;
    const char *folder = getenv("FAILING_FOLDER"), *file = getenv("FAILING_CALLS");
    if (!folder || !file) return 0;
    control = syscall(SYS_openat, AT_FDCWD, file, O_RDONLY | O_CLOEXEC);
    if (control >= 0) {
        syscall(SYS_read, control, text, sizeof text - 1);
        syscall(SYS_close, control);
    }
    errno = saved;
    if (sscanf(text, "%15s %d %d", name, &number, &wait_ms) != 3 || strcmp(name, call)) return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    if (syscall(SYS_readlinkat, AT_FDCWD, link, path, sizeof path - 1) < 0) return 0;
    if (strncmp(path, folder, strlen(folder))) return 0;
    if (wait_ms) usleep(1000 * wait_ms);
    errno = saved;
    return number;
}

#define FAIL(call, fd)                       \
    do {                                     \
        int error = error_for(call, fd);     \
        if (error) {                         \
            errno = error;                   \
            return -1;                       \
        }                                    \
    } while (0)

int fsync(int fd) { FAIL("fsync", fd); return syscall(SYS_fsync, fd); }
int fdatasync(int fd) { FAIL("fsync", fd); return syscall(SYS_fdatasync, fd); }
ssize_t write(int fd, const void *data, size_t size) { FAIL("write", fd); return syscall(SYS_write, fd, data, size); }
ssize_t read(int fd, void *data, size_t size) { FAIL("read", fd); return syscall(SYS_read, fd, data, size); }
ssize_t pwrite(int fd, const void *data, size_t size, off_t at) {
    FAIL("write", fd);
    return syscall(SYS_pwrite64, fd, data, size, at);
}
ssize_t pwrite64(int fd, const void *data, size_t size, off64_t at) {
    FAIL("write", fd);
    return syscall(SYS_pwrite64, fd, data, size, at);
}
ssize_t pread(int fd, void *data, size_t size, off_t at) {
    FAIL("read", fd);
    return syscall(SYS_pread64, fd, data, size, at);
}
ssize_t pread64(int fd, void *data, size_t size, off64_t at) {
    FAIL("read", fd);
    return syscall(SYS_pread64, fd, data, size, at);
}
