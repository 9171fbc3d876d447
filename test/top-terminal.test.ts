import { expect, test } from 'vitest'
import { MAIN, server } from './support/cli.js'
import { Tmux } from './support/tmux.js'

const TOP = `'${process.execPath}' '${MAIN}' top --every 100ms`

/** The titles and the keys. */
const DRAWN = /^SERVER .*\n(.*\n)*.* select {2}Enter processes/m

/** The terminal's settings, as the shell prints them. They are the same before and after a program that behaves. */
async function settings(terminal: Tmux, step: string): Promise<string> {
  const printed = new RegExp(`${step}-(\\d+ \\d+)-`)
  terminal.type(`echo ${step}-$(stty -g | cksum)-`)
  await terminal.shows(printed)
  return printed.exec(terminal.lines().join('\n'))?.[1] ?? ''
}

const opened = { alternate: true, cursor: false }
const restored = { alternate: false, cursor: true }

test('draws, sorts, filters, follows the size, stops and goes on, and gives the terminal back', async () => {
  const plain = await server()
  const supervised = await server(['--procs', '2'])
  const terminal = new Tmux(80, 24)
  const before = await settings(terminal, 'before')
  const draws = async (): Promise<void> => await terminal.shows(DRAWN)
  terminal.type(`clear; ${TOP} :${plain.port} :${supervised.port} --sort address`)
  await draws()
  expect(terminal.modes).toEqual(opened)
  expect(terminal.lines()[1]).toMatch(/^SERVER +PORT CLIENTS +ANON +RES RELEASED +xPRE RELS PAUSE PARKED AWAKE$/)
  const ports = (): string[] =>
    terminal
      .lines()
      .slice(2, 4)
      .map((line) => /\s(\d{4,5})\s/.exec(line)?.[1] ?? '')
  const ascending = [plain.port, supervised.port].toSorted((a, b) => a - b).map(String)
  expect(ports()).toEqual(ascending)

  terminal.press('r')
  await expect.poll(ports).toEqual(ascending.toReversed())
  terminal.press('/', `:${plain.port}`, 'Enter')
  await terminal.shows(/1 of 2 servers/)
  terminal.press('Escape')
  await terminal.shows(/top .* 2 servers/)
  terminal.press('/', `:${supervised.port}`, 'Enter', 'Down', 'Enter')
  await terminal.shows(/▾3(.*\n)+ {2}node/)

  terminal.resize(120, 30)
  await terminal.shows(/^ +PID SERVER .*TREND$/m)
  terminal.resize(40, 8)
  await terminal.shows(/^SERVER +PORT CLIENTS +ANON +xPRE\n/m)

  terminal.resize(80, 24)
  await draws()
  terminal.press('C-z')
  await terminal.shows(/Stopped/)
  expect(terminal.modes).toEqual(restored)
  expect(await settings(terminal, 'stopped')).toBe(before)
  terminal.type('fg; echo ended-$?-')
  await draws()
  expect(terminal.modes).toEqual(opened)

  terminal.press('q')
  await terminal.shows(/ended-0-/)
  expect(terminal.modes).toEqual(restored)
  expect(await settings(terminal, 'after')).toBe(before)
})

test('with --live, it shows where the page is, also in the help', async () => {
  const { port } = await server()
  const terminal = new Tmux(80, 24)
  terminal.type(`clear; ${TOP} :${port} --live :0; echo ended-$?-`)
  await terminal.shows(DRAWN)
  await terminal.shows(/^Live page at http:.*\n(.*\n)*.* select {2}Enter/m)
  const [, url = ''] = /^Live page at (\S+)$/m.exec(terminal.lines().join('\n')) ?? []
  expect((await fetch(url)).status).toBe(200)
  terminal.press('h')
  await terminal.shows(new RegExp(`^Live page at ${url}$`, 'm'))
  terminal.press('x')
  await terminal.shows(DRAWN)
  terminal.press('q')
  await terminal.shows(/ended-0-/)
  // The line above the view stays.
  await terminal.shows(new RegExp(`^Live page at ${url}$`, 'm'))
})

test.each<[string, number, RegExp, (terminal: Tmux) => void]>([
  ['Ctrl-C', 130, /^/, (terminal) => terminal.press('C-c')],
  ['SIGTERM', 130, /^/, (terminal) => process.kill(terminal.program, 'SIGTERM')],
  ['a crash', 1, /^ebb: on purpose$/m, (terminal) => process.kill(terminal.program, 'SIGUSR2')]
])('gives the terminal back after %s', async (_, code, message, end) => {
  const { port } = await server()
  const crash = 'process.on("SIGUSR2", () => { throw new Error("on purpose") })'
  const preload = `data:text/javascript,${encodeURIComponent(crash)}`
  const terminal = new Tmux(80, 24)
  const before = await settings(terminal, 'before')
  terminal.type(`'${process.execPath}' --import '${preload}' '${MAIN}' top :${port}; echo code-$?-`)
  await terminal.shows(DRAWN)
  end(terminal)
  await terminal.shows(new RegExp(`code-${code}-`))
  await terminal.shows(message)
  expect(terminal.modes).toEqual(restored)
  expect(await settings(terminal, 'after')).toBe(before)
})
