/** Sends signals, and only to ids of processes: 0 and negative numbers mean groups, or every process of the user. */

/** Sends a signal to a process. Does nothing if it has ended. */
export function signalProcess(pid: number, signal: NodeJS.Signals): void {
  if (isProcess(pid)) send(pid, signal)
}

/** Sends a signal to all processes of the group that `pid` leads, or led. Does nothing if it is empty. */
export function signalGroup(pid: number, signal: NodeJS.Signals): void {
  if (isProcess(pid)) send(-pid, signal)
}

/** Whether the group that `pid` leads, or led, has a process. */
export function hasGroup(pid: number): boolean {
  return isProcess(pid) && send(-pid, 0)
}

/** 1 is the first process of the machine or container, and `kill(-1)` would reach every process. */
function isProcess(pid: number): boolean {
  return Number.isSafeInteger(pid) && pid > 1
}

function send(target: number, signal: NodeJS.Signals | 0): boolean {
  try {
    return process.kill(target, signal)
  } catch {
    // ESRCH: it has ended. EPERM: it has changed its user, or a descendant has.
    return false
  }
}
