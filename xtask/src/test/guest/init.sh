#!/bin/busybox sh
# The guest's first process: makes the machine that the kernel suite expects, runs the suite, says
# how it ended, and switches the guest off. FOLDER and COMMAND are filled in when it is packed.
/bin/busybox mkdir -p /dev /proc /root /run /sys /tmp
/bin/busybox mount -t devtmpfs devtmpfs /dev
exec </dev/console >/dev/console 2>&1
/bin/busybox --install -s /bin
export PATH=/bin HOME=/root

# The root file system is in memory already, so /tmp and /run need no other; one mounted there
# would hide the suite where the workspace lies below it.
attach() {
    mkdir -p "$2" && mount -t "$1" "$1" "$2" || echo "guest: $1 is not available"
}
attach proc /proc
attach sysfs /sys
attach tracefs /sys/kernel/tracing
attach cgroup2 /sys/fs/cgroup
attach bpf /sys/fs/bpf
attach devpts /dev/pts
attach tmpfs /dev/shm
if [ -e /modules/order ]; then
    while read -r module; do
        insmod "/modules/$module" || echo "guest: $module is not loaded"
    done </modules/order
else
    echo "guest: this kernel was kept without modules"
fi
chmod 1777 /tmp
ln -s /proc/self/fd /dev/fd
ip link set lo up
hostname guest
echo "guest: Linux $(uname -r)"

cd 'FOLDER'
export MONITORING_TEST_GUEST=1 RUST_BACKTRACE=1
COMMAND
status=$?
if [ "$status" != 0 ]; then
    echo "guest: the kernel's last messages"
    dmesg | tail -n 40
fi
echo "guest: tests ended with status $status"
poweroff -f
