/** The supervisor: starts the processes of `ebb run`, replaces them, and ends them. */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { ErrorCode } from '../sys/error-codes.js'
import { makeFolder } from './folder.js'
import { Guard } from './guard.js'
import { Keeper } from './keeper.js'
import type { RunOptions } from './options.js'
import type { Exit } from './server-process.js'
import { Slot, type SlotEvents, seconds } from './slot.js'
import { isStored, Store } from './store.js'
import { type Passed, passedDescriptors, SystemdReporter } from './systemd.js'

/** How `ebb run` is to end: with an exit code, or by the signal that ended the program. */
export type Outcome = { code: number } | { signal: NodeJS.Signals }

/** Variables that are about the process that systemd has started, and not about its children. */
const OWN_VARIABLES = [
  'NOTIFY_SOCKET',
  'WATCHDOG_USEC',
  'WATCHDOG_PID',
  'LISTEN_PID',
  'LISTEN_FDS',
  'LISTEN_FDNAMES',
  'FDSTORE'
] as const

/** Exit codes of a command that cannot be run, as shells have them. */
const NOT_FOUND = 127
const NOT_RUNNABLE = 126

/** Runs `--procs` slots. */
export class Supervisor {
  /** Resolves when no process is left and none will be started. */
  readonly ended: Promise<Outcome>
  readonly #options: RunOptions
  readonly #log: (text: string) => void
  readonly #environment: NodeJS.ProcessEnv
  /** Descriptors from systemd that each process gets. */
  readonly #passed: readonly Passed[]
  readonly #systemd: SystemdReporter
  /** With `--store`, under systemd. */
  readonly #store: Store | undefined
  readonly #folder: string
  readonly #guard: Guard
  readonly #slots: Slot[]
  /** With `--keep`: one for each slot. */
  readonly #keepers: Keeper[] = []
  #resolve: (outcome: Outcome) => void = () => {}
  #state: 'starting' | 'serving' | 'ending' | 'ended' = 'starting'
  /** The signal that is ending the processes. */
  #signal: NodeJS.Signals | undefined
  /** What ends `ebb run`, if it is not the signal. */
  #outcome: Outcome | undefined
  /** Slots whose processes are to be replaced. */
  readonly #heavy = new Set<Slot>()
  /** Whether the log has the id of this process. */
  #isTold = false
  #isReplacing = false
  #isAskedAgain = false
  #lastSocket = 0

  /**
   * Makes the folder of the sockets.
   *
   * @param log prints a line
   * @throws {SystemError} if the folder cannot be made
   */
  constructor(options: RunOptions, environment: NodeJS.ProcessEnv, log: (text: string) => void) {
    this.#options = options
    this.#log = log
    this.#environment = { ...environment }
    const passed = passedDescriptors(environment)
    this.#passed = passed.filter((one) => !isStored(one))
    for (const name of OWN_VARIABLES) delete this.#environment[name]
    this.#systemd = new SystemdReporter(environment, (text, code) => this.#say(text, code))
    if (options.dir !== undefined) makeFolder(options.dir)
    this.#folder = options.dir ?? mkdtempSync(join(tmpdir(), 'ebb-run-'))
    const own = options.dir === undefined ? this.#folder : undefined
    this.#guard = new Guard(options.killAfter, own, (error) =>
      this.#say(`processes would outlive a SIGKILL of ebb run: ${error.message}`, 'ERR_EBB_RUN_GUARD')
    )
    const events: SlotEvents = {
      prepare: (slot) => this.#prepare(slot),
      started: ({ pid }) => this.#onStarted(pid),
      ended: ({ pid }) => this.#guard.forget(pid),
      ready: (slot) => {
        this.#store?.drop(slot.number)
        this.#onReady()
      },
      empty: () => this.#settleIfEmpty(),
      exhausted: (exit) => this.#onExhausted(exit),
      heavy: (slot, floor) => this.#onHeavy(slot, floor),
      log: (text, code) => this.#say(text, code)
    }
    this.#slots = Array.from({ length: options.procs }, (_, index) => new Slot(index + 1, options, events))
    this.#store = this.#makeStore(passed.filter(isStored))
    if (options.keep) for (const { number } of this.#slots) this.#keepers.push(this.#makeKeeper(number))
    this.ended = new Promise((resolve) => {
      this.#resolve = resolve
    })
  }

  /** Starts the processes. */
  start(): void {
    for (const slot of this.#slots) slot.start()
  }

  /** Handles a signal that this process has received. */
  onSignal(signal: NodeJS.Signals): void {
    if (signal === 'SIGHUP' && this.#options.handover) this.#reload()
    else if (signal === 'SIGTERM' || signal === 'SIGINT' || signal === 'SIGQUIT') this.#end(signal)
    else for (const slot of this.#slots) slot.pass(signal)
  }

  /** Kills what is left, and removes the sockets. For the end of this process, however it comes about. */
  close(): void {
    for (const slot of this.#slots) slot.kill()
    for (const keeper of this.#keepers) keeper.close()
    this.#store?.close()
    this.#systemd.close()
    this.#guard.close()
    if (this.#options.dir === undefined) rmSync(this.#folder, { recursive: true, force: true })
  }

  #makeKeeper(number: number): Keeper {
    const path = join(this.#folder, `keeper-${process.pid}-${number}.sock`)
    return new Keeper(path, this.#handoverPath(number), (text) => this.#say(text, 'ERR_EBB_RUN_KEEPER'))
  }

  /** Offers what systemd has stored. @returns undefined if nothing is to be stored at the end */
  #makeStore(stored: readonly Passed[]): Store | undefined {
    const { storeGrace, procs } = this.#options
    const isAsked = storeGrace !== undefined
    if (isAsked && !this.#systemd.isThere) {
      this.#say('--store has no effect: there is no systemd (NOTIFY_SOCKET)', 'ERR_EBB_RUN_STORE')
    }
    const store = new Store(this.#systemd, (text, code) => this.#say(text, code))
    store.restore(stored, (number) => (isAsked && number <= procs ? this.#handoverPath(number) : undefined))
    return isAsked && this.#systemd.isThere ? store : undefined
  }

  /** The same path in each run with the same `--dir`: a new `ebb run` takes over from the one before. */
  #handoverPath(number: number): string {
    return join(this.#folder, `handover-${number}.sock`)
  }

  #prepare(slot: Slot): ReturnType<SlotEvents['prepare']> {
    const { handover, procs } = this.#options
    const keeper = this.#keepers[slot.number - 1]
    return {
      environment: {
        ...this.#environment,
        EBB_PROC: String(slot.number),
        EBB_PROCS: String(procs),
        // Not LISTEN_PID: nobody knows the process id before the process runs.
        ...(this.#passed.length > 0 && {
          LISTEN_FDS: String(this.#passed.length),
          LISTEN_FDNAMES: this.#passed.map(({ name }) => name).join(':')
        }),
        ...(handover && { EBB_HANDOVER: this.#handoverPath(slot.number) }),
        ...(keeper !== undefined && { EBB_KEEPER: keeper.path })
      },
      notifyPath: join(this.#folder, `notify-${process.pid}-${slot.number}-${++this.#lastSocket}.sock`),
      descriptors: this.#passed.map(({ fd }) => fd)
    }
  }

  /** Replaces all processes, one after the other. */
  #reload(): void {
    if (this.#isReplacing) {
      this.#isAskedAgain = true
      this.#say('SIGHUP: the processes are replaced again when the present handover is over')
      return
    }
    this.#say(`SIGHUP: replacing ${this.#slots.length === 1 ? 'the process' : `${this.#slots.length} processes`}`)
    void this.#replace(this.#slots)
  }

  #onHeavy(slot: Slot, floor: number): void {
    const { maxMemory = 0, memoryWindow } = this.#options
    const held = `${megabytes(floor)} of memory for ${seconds(memoryWindow)} (--max-memory ${megabytes(maxMemory)})`
    this.#say(`process ${slot.processes[0]?.pid} has not held less than ${held}`)
    this.#heavy.add(slot)
    if (!this.#isReplacing) void this.#replace([])
  }

  async #replace(slots: readonly Slot[]): Promise<void> {
    this.#isReplacing = true
    this.#systemd.reloading()
    const waiting = [...slots]
    let failed = 0
    while (this.#state === 'serving' || this.#state === 'starting') {
      if (waiting.length === 0 && this.#isAskedAgain) {
        this.#isAskedAgain = false
        waiting.push(...this.#slots)
      }
      const slot = waiting.shift() ?? first(this.#heavy)
      if (slot === undefined) break
      this.#heavy.delete(slot)
      if (!(await slot.replace())) failed++
    }
    this.#isReplacing = false
    if (this.#state !== 'serving') return
    this.#systemd.status(failed === 0 ? 'Handed over' : `${failed} handovers failed: see the log`)
    this.#systemd.ready()
  }

  #onStarted(pid: number): void {
    this.#guard.watch(pid)
    if (this.#isTold) return
    this.#isTold = true
    // For those who send it signals: it may run behind npx or npm.
    this.#say(`the supervisor is process ${process.pid}`)
  }

  #onReady(): void {
    if (this.#state !== 'starting' || !this.#slots.every(({ isReady }) => isReady)) return
    this.#state = 'serving'
    this.#systemd.ready()
  }

  #end(signal: NodeJS.Signals): void {
    if (this.#state === 'ended') return
    if (this.#state === 'ending') {
      this.#say(`${signal}: killing the processes`)
      for (const slot of this.#slots) slot.kill()
      return
    }
    this.#say(`${signal}: ending`)
    this.#signal = signal
    if (this.#store === undefined) this.#endAll(signal)
    else void this.#storeAndEndAll(signal, this.#store)
  }

  /** Takes over from the processes, and ends them. What was taken is stored when they have ended. */
  async #storeAndEndAll(signal: NodeJS.Signals, store: Store): Promise<void> {
    this.#state = 'ending'
    this.#systemd.stopping()
    const { storeGrace = 0 } = this.#options
    const ends = this.#slots.map(async (slot) => {
      slot.retire()
      if (slot.processes.length > 0) await store.collect(slot.number, this.#handoverPath(slot.number), storeGrace)
      slot.end(signal)
    })
    await Promise.all(ends)
    this.#settleIfEmpty()
  }

  #endAll(signal: NodeJS.Signals): void {
    this.#state = 'ending'
    this.#systemd.stopping()
    for (const slot of this.#slots) slot.end(signal)
    this.#settleIfEmpty()
  }

  #onExhausted(exit: Exit): void {
    if (exit.error === undefined) {
      const text = `giving up after ${this.#options.maxRestarts} restarts in a row: see what the program printed above`
      this.#say(text, 'ERR_EBB_RUN_RESTARTS')
    } else this.#say(`the command cannot be run: ${exit.error.message}`, 'ERR_EBB_RUN_COMMAND')
    this.#outcome = outcomeOf(exit)
    this.#endAll('SIGTERM')
  }

  #settleIfEmpty(): void {
    if (this.#state === 'ended' || this.#slots.some(({ processes }) => processes.length > 0)) return
    if (this.#state !== 'ending' && !this.#slots.every(({ isOver }) => isOver)) return
    this.#state = 'ended'
    void this.#finish()
  }

  async #finish(): Promise<void> {
    for (const [at, { number }] of this.#slots.entries()) {
      if (this.#store === undefined || this.#signal === undefined) break
      const holding = this.#keepers[at]?.release()
      await this.#store.put(number, holding && { holding, orders: [] })
    }
    this.#resolve(this.#outcome ?? this.#outcomeOfSlots())
  }

  /** A signal that the programs do not handle ends them, and then ends `ebb run`, too. */
  #outcomeOfSlots(): Outcome {
    const exits = this.#slots.flatMap(({ lastExit }) => (lastExit === undefined ? [] : [lastExit]))
    const signal = this.#signal
    const failed = exits.find((exit) => exit.code !== 0 && (signal === undefined || exit.signal !== signal))
    if (failed !== undefined) return outcomeOf(failed)
    return signal !== undefined && exits.some((exit) => exit.signal === signal) ? { signal } : { code: 0 }
  }

  #say(text: string, code?: ErrorCode): void {
    this.#log(code === undefined ? text : `${code}: ${text}`)
  }
}

function first<T>(set: Set<T>): T | undefined {
  for (const value of set) return value
  return undefined
}

/** As shells report it: 128 and the number of the signal, 127 for a command that is not found. */
function outcomeOf({ code, signal, error }: Exit): Outcome {
  if (error !== undefined) return { code: error.code === 'ENOENT' ? NOT_FOUND : NOT_RUNNABLE }
  return signal === null ? { code: code ?? 1 } : { signal }
}

function megabytes(bytes: number): string {
  return `${Number((bytes / 1e6).toFixed(1))} MB`
}
