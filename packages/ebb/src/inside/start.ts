/**
 * Opens the inside socket, at which a process with `ebb/auto` answers questions about its memory: those of `ebb doctor`
 * and `ebb top`. Whoever asks has to run as the same user, or as root.
 *
 * An idle process pays one descriptor. The code that answers is loaded with the first question.
 */

import { listenAtName } from '../sys/local-socket.js'
import { outside } from '../sys/node/callback-scope.js'
import { type ListeningWatch, watchListening } from '../sys/node/epoll-watch.js'
import { closeDescriptor } from '../sys/socket.js'
import { hasSpareDescriptors } from '../sys/spare-descriptors.js'
import { timers } from '../sys/timers.js'
import { insideName } from './name.js'

/** Connections that may wait until they are accepted. */
const BACKLOG = 8
/** Milliseconds until the next try, if there is no descriptor left to load the code that answers. */
const RETRY = 1000

/** Kept, because garbage collection ends a watch. */
let watch: ListeningWatch | undefined

/**
 * Opens the inside socket of this process. Does nothing if it cannot be opened: the name is taken, no descriptor is
 * left, or sockets are not allowed. No error of the inside socket ever reaches the program.
 */
export function openInside(): void {
  try {
    const fd = listenAtName(insideName(process.pid), BACKLOG)
    if (fd < 0) return
    watch = watchListening(fd, () => onClients(fd))
    if (watch === undefined) closeDescriptor(fd)
    else watch.start()
  } catch {
    // The C library cannot be called.
  }
}

function onClients(fd: number): void {
  watch?.stop()
  if (!hasSpareDescriptors()) {
    startAfter(RETRY)
    return
  }
  import('./serve.js')
    .then(({ serve }) => {
      const wait = serve(fd)
      if (wait === 0) watch?.start()
      else startAfter(wait)
    })
    // The files of this library are gone or may not be read, so there can be no answer.
    .catch(() => watch?.close())
}

function startAfter(ms: number): void {
  outside(() => timers.setTimeout(() => watch?.start(), ms)).unref()
}
