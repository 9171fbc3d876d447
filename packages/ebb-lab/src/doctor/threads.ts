/** Reads the threads of a process, and where the stack of each one is. */
import fs from 'node:fs'
import { readOrNothing } from './files.js'

/** A thread of a process. */
export interface Thread {
  /** Id of the thread; that of the main thread is the process id. */
  tid: number
  /** Name of the thread, at most 15 bytes. */
  name: string
  /**
   * An address within the stack of the thread. Undefined if it is not known: the thread runs at this moment, or this
   * user may not look into the process.
   */
  stack: number | undefined
}

/** Returns the threads of a process, the main thread first. Throws `ENOENT` or `ESRCH` if it has ended. */
export function readThreads(pid: number): Thread[] {
  return fs
    .readdirSync(`/proc/${pid}/task`)
    .map(Number)
    .sort((a, b) => a - b)
    .flatMap((tid) => {
      const folder = `/proc/${pid}/task/${tid}`
      // Empty if the thread has ended; a thread always has a name.
      const name = readOrNothing(`${folder}/comm`, 'utf8')
      return name === '' ? [] : { tid, name: name.trim(), stack: stackPointer(readOrNothing(`${folder}/syscall`)) }
    })
}

/**
 * Returns the stack pointer in `/proc/PID/task/TID/syscall`. A thread in a system call has the number of the call, six
 * arguments, the stack pointer and the program counter; a thread that waits for something else has -1 and the two.
 */
function stackPointer(text: string): number | undefined {
  const pointer = text.trim().split(' ').at(-2)
  return pointer?.startsWith('0x') ? Number.parseInt(pointer, 16) : undefined
}
