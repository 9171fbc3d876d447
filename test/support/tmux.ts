/** A terminal of its own for a test: a tmux server with one window and a shell. */
import { execFileSync, spawnSync } from 'node:child_process'
import { expect, onTestFinished } from 'vitest'
import { descendants } from './processes.js'

/** A terminal in which a shell runs. It is closed after the test. */
export class Tmux {
  static #count = 0
  readonly #name = `ebb-test-${process.pid}-${Tmux.#count++}`

  constructor(width: number, height: number, env: Record<string, string> = {}) {
    const variables = { LANG: 'C.UTF-8', PS1: '$ ', ENV: '', ...env }
    const settings = Object.entries(variables).flatMap(([name, value]) => ['-e', `${name}=${value}`])
    this.#tmux('-u', '-f', '/dev/null', 'new-session', '-d', '-x', `${width}`, '-y', `${height}`, ...settings, 'sh -im')
    onTestFinished(() => void spawnSync('tmux', ['-L', this.#name, 'kill-server']))
  }

  /** Types keys: names such as `Down` and `C-c`, or text. */
  press(...keys: string[]): void {
    this.#tmux('send-keys', ...keys)
  }

  /** Types a command and the return key. */
  type(command: string): void {
    this.#tmux('send-keys', '-l', command)
    this.press('Enter')
  }

  /** Returns the lines of the screen. @param withColours whether to leave the sequences for colours in them */
  lines(withColours = false): string[] {
    return this.#tmux('capture-pane', '-p', ...(withColours ? ['-e'] : [])).split('\n')
  }

  /** Waits until the screen matches. */
  async shows(pattern: RegExp): Promise<void> {
    await expect.poll(() => this.lines().join('\n')).toMatch(pattern)
  }

  /** The program that the shell runs. */
  get program(): number {
    const [program] = descendants(Number(this.#tmux('display-message', '-p', '#{pane_pid}')))
    if (program === undefined) throw new Error('the shell runs no program')
    return program
  }

  resize(width: number, height: number): void {
    this.#tmux('resize-window', '-x', `${width}`, '-y', `${height}`)
  }

  /** Whether a program shows a screen of its own, and whether the cursor is visible. */
  get modes(): { alternate: boolean; cursor: boolean } {
    const [alternate, cursor] = this.#tmux('display-message', '-p', '#{alternate_on} #{cursor_flag}').trim().split(' ')
    return { alternate: alternate === '1', cursor: cursor === '1' }
  }

  #tmux(...args: string[]): string {
    return execFileSync('tmux', ['-L', this.#name, ...args], { encoding: 'utf8' })
  }
}
