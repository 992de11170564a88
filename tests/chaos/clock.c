/* A wall clock of its own for one process (LD_PRELOAD): the real one and so many seconds, which lie
 * as 8 bytes in the file CHAOS_CLOCK and may change at any time. Only the wall clock: how long
 * something takes, and sleeps, are left alone. Needs no header, so that any C compiler will do. */

struct timespec { long seconds, nanoseconds; };
struct timeval { long seconds, microseconds; };

long syscall(long number, ...);
char *getenv(const char *name);
int open(const char *path, int flags, ...);
void *mmap(void *address, unsigned long length, int protection, int flags, int file, long offset);

#if defined(__aarch64__)
enum { CLOCK_GETTIME = 113 };
#else
enum { CLOCK_GETTIME = 228 };
#endif
enum { REALTIME = 0, REALTIME_COARSE = 5, READ = 1, SHARED = 1 };

static long nothing = 0;
static volatile long *ahead = &nothing;
static int looked = 0;

static long offset(void)
{
    if (!looked) {
        char *path = getenv("CHAOS_CLOCK");
        int file = path ? open(path, 0) : -1;
        if (file >= 0) {
            void *content = mmap(0, 8, READ, SHARED, file, 0);
            if (content != (void *)-1)
                ahead = content;
        }
        looked = 1;
    }
    return *ahead;
}

int clock_gettime(int clock, struct timespec *now)
{
    int result = (int)syscall(CLOCK_GETTIME, clock, now);
    if (result == 0 && (clock == REALTIME || clock == REALTIME_COARSE))
        now->seconds += offset();
    return result;
}

int gettimeofday(struct timeval *now, void *zone)
{
    struct timespec exact;
    int result = clock_gettime(REALTIME, &exact);
    if (now && result == 0) {
        now->seconds = exact.seconds;
        now->microseconds = exact.nanoseconds / 1000;
    }
    return result;
}

long time(long *seconds)
{
    struct timespec exact;
    clock_gettime(REALTIME, &exact);
    if (seconds)
        *seconds = exact.seconds;
    return exact.seconds;
}
