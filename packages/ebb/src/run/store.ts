/**
 * systemd's descriptor store: connections that outlive a restart of the whole service. See
 * https://systemd.io/FILE_DESCRIPTOR_STORE/.
 *
 * When the service ends, `ebb run` takes over from each process as a successor would, and puts what it got into the
 * store as an archive. When the service starts again, systemd passes the archive, and `ebb run` offers what is in it to
 * the first process at the handover socket. For the processes, both are ordinary handovers.
 */
import type { ErrorCode } from '../sys/error-codes.js'
import type { SystemError } from '../sys/errors.js'
import { closeDescriptor } from '../sys/socket.js'
import { type Archived, closeArchive, readArchive, writeArchive } from './archive.js'
import { Collector } from './collector.js'
import { Offer } from './offer.js'
import type { Passed, SystemdReporter } from './systemd.js'

/** Names of stored descriptors: number of the process, and `file`, or the number of a queue. */
const NAME = /^ebb-([1-9]\d{0,3})-(file|queue-(\d{1,4}))$/
const fileName = (number: number): string => `ebb-${number}-file`
const queueName = (number: number, index: number): string => `ebb-${number}-queue-${index}`

/** Whether systemd has stored a descriptor for this store. */
export function isStored({ name }: Passed): boolean {
  return NAME.test(name)
}

/** Stores the connections of `ebb run`, and takes them up again. */
export class Store {
  readonly #systemd: SystemdReporter
  readonly #log: (text: string, code?: ErrorCode) => void
  /** By number of the process. */
  readonly #offers = new Map<number, Offer>()
  readonly #collectors = new Map<number, Collector>()

  /** @param log prints a line */
  constructor(systemd: SystemdReporter, log: (text: string, code?: ErrorCode) => void) {
    this.#systemd = systemd
    this.#log = log
  }

  /**
   * Takes what systemd has stored, and offers it to the processes that are about to start.
   *
   * @param passed descriptors, which the store owns from now on
   * @param pathOf returns the handover socket of a process; undefined if there is no process with this number
   */
  restore(passed: readonly Passed[], pathOf: (number: number) => string | undefined): void {
    const archives = new Map<number, { file: number; queues: number[] }>()
    for (const { fd, name } of passed) {
      const [, number, what, queue] = NAME.exec(name) as unknown as [string, string, string, string | undefined]
      const archive = archives.get(Number(number)) ?? { file: -1, queues: [] }
      archives.set(Number(number), archive)
      const old = queue === undefined ? archive.file : (archive.queues[Number(queue)] ?? -1)
      if (old !== -1) closeDescriptor(old)
      if (what === 'file') archive.file = fd
      else archive.queues[Number(queue)] = fd
    }
    // What is in the archives is this process's from now on.
    for (const name of new Set(passed.map(({ name }) => name))) this.#systemd.removeStored(name)
    for (const [number, archive] of archives) this.#restoreOne(number, archive, pathOf(number))
  }

  #restoreOne(number: number, { file, queues }: { file: number; queues: number[] }, path: string | undefined): void {
    // A queue that is missing has no entry.
    const archive = { file, queues: Array.from(queues, (fd) => fd ?? -1) }
    if (path === undefined || file === -1 || archive.queues.includes(-1)) {
      closeArchive(archive)
      const reason =
        path === undefined ? 'no process is to take them' : 'systemd has not kept all of them (FileDescriptorStoreMax=)'
      this.#fail(`the stored connections of process ${number} are closed: ${reason}`)
      return
    }
    try {
      const archived = readArchive(archive)
      const offer = new Offer(path, archived, {
        taken: (count) => {
          this.#offers.delete(number)
          this.#log(`process ${number} has taken ${count} stored connections`)
        },
        failed: (error) => this.#fail(`stored connections were not taken: ${error.message}`)
      })
      this.#offers.set(number, offer)
    } catch (error) {
      this.#fail((error as Error).message)
    }
  }

  /** Closes what a process has not taken: it serves without it. */
  drop(number: number): void {
    const archived = this.#offers.get(number)?.end()
    this.#offers.delete(number)
    if (archived === undefined) return
    const { size } = archived.holding
    archived.holding.close()
    this.#fail(`process ${number} is ready, and has not taken the ${size} stored connections: they are closed`)
  }

  /**
   * Takes over from a process that is to end.
   *
   * @param path of its handover socket
   * @param grace time that connections which are not at rest have, ms
   * @returns a promise that resolves when the process may be ended
   */
  async collect(number: number, path: string, grace: number): Promise<void> {
    // Nobody has taken what was stored before: it is stored again.
    if (this.#offers.has(number)) return
    try {
      const collector = new Collector(path)
      this.#collectors.set(number, collector)
      await collector.taken
      let timer: NodeJS.Timeout | undefined
      const over = new Promise<void>((resolve) => {
        timer = setTimeout(resolve, grace)
      })
      await Promise.race([collector.rested, over])
      clearTimeout(timer)
      const { failure } = collector
      if (failure !== undefined) this.#fail(`process ${number} keeps some connections: ${failure.message}`)
    } catch (error) {
      const { code, message } = error as SystemError
      const reason = code === 'ENOENT' || code === 'ECONNREFUSED' ? 'it has not called handover()' : message
      this.#fail(`the connections of process ${number} cannot be stored: ${reason}`)
    }
  }

  /**
   * Puts the connections of a process that has ended into systemd's store.
   *
   * @param otherwise what there is if the process has not handed over; the store owns it from now on
   */
  async put(number: number, otherwise: Archived | undefined): Promise<void> {
    const collector = this.#collectors.get(number)
    // The end of the process comes after what it has sent last.
    await collector?.ended
    const collected = this.#offers.get(number)?.end() ?? collector?.end()
    if (collected !== undefined) otherwise?.holding.close()
    const archived = collected ?? otherwise
    this.#offers.delete(number)
    this.#collectors.delete(number)
    if (archived === undefined) return
    const { size } = archived.holding
    try {
      const archive = writeArchive(archived)
      archived.holding.close()
      this.#systemd.store(fileName(number), archive.file)
      for (const [index, fd] of archive.queues.entries()) this.#systemd.store(queueName(number, index), fd)
      try {
        await this.#systemd.flushed()
      } finally {
        closeArchive(archive)
      }
      this.#log(`stored ${size} connections of process ${number} in systemd`)
    } catch (error) {
      archived.holding.close()
      this.#fail(`the ${size} connections of process ${number} cannot be stored: ${(error as Error).message}`)
    }
  }

  /** Closes all that is left. */
  close(): void {
    for (const offer of this.#offers.values()) offer.end()?.holding.close()
    for (const collector of this.#collectors.values()) collector.end()?.holding.close()
    this.#offers.clear()
    this.#collectors.clear()
  }

  #fail(text: string): void {
    this.#log(text, 'ERR_EBB_RUN_STORE')
  }
}
