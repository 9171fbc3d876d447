/**
 * Asks a process of Node through its inspector: opens it with SIGUSR1 unless it is open, evaluates a script in the
 * process, and closes it again.
 */
import fs from 'node:fs'
import { socketLinks, socketsOf, tcpListeners } from '../../process/sockets.js'
import { codeOf, DoctorError, messageOf, reasonOf } from '../../units/errors.js'
import { linkOrNothing, readOrNothing } from '../files.js'
import { readMappings } from '../mappings.js'
import { runtimeOf } from '../runtime.js'
import type { NodeAnswer } from './answer.js'
import { closeScript, insideScript } from './scripts.js'
import { InspectorSession, targetAt } from './session.js'

/** Milliseconds between two looks for the port of the inspector. */
const LOOK_INTERVAL = 20
/** A process that has not opened its inspector after so many ms will not do so. */
const LONGEST_OPENING = 2000
const DEFAULT_PORT = 9229

type InspectorAnswer = Omit<NodeAnswer, 'route'>

/** Asks a process. @throws DoctorError: see `askNode()` */
export async function askInspector(pid: number, release: boolean, timeout: number): Promise<InspectorAnswer> {
  const deadline = performance.now() + timeout
  await check(pid)
  const open = await openTarget(pid)
  const { port, url } = open ?? (await openBySignal(pid))
  const isOurs = open === undefined
  let session: InspectorSession | undefined
  let answer: Omit<InspectorAnswer, 'notes'> | undefined
  let failed: unknown
  try {
    session = await InspectorSession.open(url, deadline)
    answer = await session.evaluate(insideScript(release), deadline, release)
  } catch (error) {
    failed = error
  }
  const note = isOurs
    ? await close(pid, port, session)
    : `the inspector was open already, at 127.0.0.1:${port}, and is left open`
  session?.close()
  if (answer === undefined) throw failure(pid, failed, note)
  return { ...answer, notes: [note] }
}

/** Checks that the signal opens an inspector that can be reached, and does not end the process. */
async function check(pid: number): Promise<void> {
  let status: string
  let runtime: string
  try {
    status = fs.readFileSync(`/proc/${pid}/status`, 'latin1')
    runtime = (await runtimeOf(pid, readMappings(pid))).name
  } catch (error) {
    throw new DoctorError(`process ${pid} cannot be looked into: ${reasonOf(error)}`, codeOf(error), 'open', error)
  }
  if (runtime !== 'node') {
    throw new DoctorError(
      `process ${pid} has no inspector to ask: its runtime is ${runtime}, not Node`,
      'ERR_EBB_NOT_NODE'
    )
  }
  if (/^State:\s*[Tt]/m.test(status)) {
    throw new DoctorError(
      `process ${pid} cannot be asked through its inspector: it is stopped; let it go on with SIGCONT`,
      'ERR_EBB_INSPECT_STOPPED'
    )
  }
  if (linkOrNothing(`/proc/${pid}/ns/net`) !== linkOrNothing('/proc/self/ns/net')) {
    throw new DoctorError(
      `the inspector of process ${pid} cannot be reached: it is in another network namespace, as in a container; ask from there: nsenter -t ${pid} -n`,
      'ERR_EBB_INSPECT_NAMESPACE'
    )
  }
}

/** Whether SIGUSR1 is caught, which Node does unless it was started with `--disable-sigusr1`. */
function catchesSignal(pid: number): boolean {
  const mask = /^SigCgt:\s*([0-9a-f]+)/m.exec(fs.readFileSync(`/proc/${pid}/status`, 'latin1'))?.[1] ?? '0'
  const SIGUSR1 = 10
  return (BigInt(`0x${mask}`) & (1n << BigInt(SIGUSR1 - 1))) !== 0n
}

interface Target {
  port: number
  url: string
}

/** Returns the inspector that a process has open already. Talks to no other port of the process. */
async function openTarget(pid: number): Promise<Target | undefined> {
  const ports = loopbackPorts(pid)
  // With --inspect=PORT it may be any port; otherwise only the default one is tried.
  const hasOption = /--inspect|--debug-port/.test(
    `${readOrNothing(`/proc/${pid}/cmdline`)} ${readOrNothing(`/proc/${pid}/environ`)}`
  )
  for (const port of hasOption ? ports : ports.filter((port) => port === DEFAULT_PORT)) {
    const url = await targetAt(port)
    if (url !== undefined) return { port, url }
  }
  return undefined
}

/** Returns the TCP ports that the process itself listens on, at addresses that 127.0.0.1 reaches. */
function loopbackPorts(pid: number): number[] {
  try {
    const sockets = socketsOf(tcpListeners(pid).filter(({ host }) => /^127\.|^0\.0\.0\.0$|^::1?$/.test(host)))
    return [...new Set(socketLinks(pid).flatMap((link) => sockets.get(link)?.port ?? []))]
  } catch (error) {
    throw new DoctorError(
      `the sockets of process ${pid} cannot be looked up: ${reasonOf(error)}`,
      codeOf(error),
      'open',
      error
    )
  }
}

/** Opens the inspector of a process, and finds the port by the socket that is new. */
async function openBySignal(pid: number): Promise<Target> {
  if (!catchesSignal(pid)) {
    throw new DoctorError(
      `process ${pid} does not catch SIGUSR1, which would end it: it was started with --disable-sigusr1`,
      'ERR_EBB_INSPECT_SIGNAL'
    )
  }
  const before = new Set(loopbackPorts(pid))
  try {
    process.kill(pid, 'SIGUSR1')
  } catch (error) {
    throw new DoctorError(`process ${pid} cannot be sent SIGUSR1: ${reasonOf(error)}`, codeOf(error), 'kill', error)
  }
  for (const end = performance.now() + LONGEST_OPENING; performance.now() < end; ) {
    await new Promise((resolve) => setTimeout(resolve, LOOK_INTERVAL))
    for (const port of loopbackPorts(pid).filter((port) => !before.has(port))) {
      const url = await targetAt(port)
      if (url !== undefined) return { port, url }
    }
  }
  throw new DoctorError(
    `process ${pid} has not opened its inspector at SIGUSR1: the program handles that signal itself, its event loop is blocked, or its port is taken`,
    'ERR_EBB_INSPECT_SIGNAL'
  )
}

/** Makes the process close its inspector. @returns what came of it, for the notes */
async function close(pid: number, port: number, session: InspectorSession | undefined): Promise<string> {
  const opened = `SIGUSR1 opened the inspector at 127.0.0.1:${port}`
  try {
    await session?.evaluate(closeScript(), performance.now() + LONGEST_OPENING)
    session?.close()
    for (const end = performance.now() + LONGEST_OPENING; performance.now() < end; ) {
      await new Promise((resolve) => setTimeout(resolve, LOOK_INTERVAL))
      if (!loopbackPorts(pid).includes(port)) return `${opened}, and it is closed again`
    }
  } catch (error) {
    return `${opened}, and it is still open: ${messageOf(error)}`
  }
  return `${opened}, and it is still open`
}

function failure(pid: number, error: unknown, note: string): DoctorError {
  const isLate = codeOf(error) === 'ERR_EBB_INSPECT_BUSY'
  const why = isLate ? 'in time: its event loop is busy, or a debugger has stopped it' : `: ${messageOf(error)}`
  return new DoctorError(
    `process ${pid} has not answered at its inspector${isLate ? ' ' : ''}${why}; ${note}`,
    isLate ? 'ERR_EBB_INSPECT_BUSY' : 'ERR_EBB_INSPECT_FAILED',
    undefined,
    error
  )
}
