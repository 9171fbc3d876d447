/**
 * Rules of this project for Oxlint (API of ESLint plugins). `.oxlintrc.json` says where they apply;
 * `test/rules.test.ts` breaks each of them once.
 */

import { isTooWide, WIDTH } from '../prose/width.mjs'

/** Node's own modules without documentation: `_http_common`, `internal/util`. */
const UNDOCUMENTED_MODULE = /^(?:node:)?(?:_[a-z]|internal\/)/
/** Functions of documented objects that lead inside Node. */
const UNDOCUMENTED_FUNCTIONS = new Set(['process.binding', 'process.dlopen', 'EventEmitter.init'])
/** Functions that list symbols. A symbol of Node's is found only by its description. */
const SYMBOL_LISTS = new Set(['Object.getOwnPropertySymbols', 'Reflect.ownKeys'])

/** A name with one underscore in front, as Node's undocumented properties have. */
function isUndocumented(name) {
  return typeof name === 'string' && /^_[A-Za-z]/.test(name)
}

/** Name of a property key or member, or undefined if it is computed at run time. */
function nameOf(key, computed) {
  if (key.type === 'Identifier' && !computed) return key.name
  if (key.type === 'Literal' && typeof key.value === 'string') return key.value
  if (key.type === 'TemplateLiteral' && key.expressions.length === 0) return key.quasis[0].value.cooked
  return undefined
}

/** `a.b` as text, if both are plain names. */
function pathOf(member) {
  return member.object.type === 'Identifier' ? `${member.object.name}.${nameOf(member.property, member.computed)}` : ''
}

/** Only files in folders named `node/` depend on what Node does not document. */
const nodeInternals = {
  meta: { type: 'problem', schema: [] },
  create(context) {
    const report = (node, what) =>
      context.report({ node, message: `${what} is undocumented in Node: use it in a folder named node/ only.` })
    const checkKey = (node) => {
      const name = nameOf(node.key, node.computed)
      if (isUndocumented(name)) report(node, name)
    }
    const checkModule = (source) => {
      if (source?.type === 'Literal' && UNDOCUMENTED_MODULE.test(source.value)) report(source, `Module ${source.value}`)
    }
    return {
      MemberExpression(node) {
        const name = nameOf(node.property, node.computed)
        const path = pathOf(node)
        if (isUndocumented(name)) report(node, name)
        else if (UNDOCUMENTED_FUNCTIONS.has(path)) report(node, path)
        else if (SYMBOL_LISTS.has(path)) report(node, `A symbol found with ${path}()`)
      },
      // `{ _handle }`, also as a pattern; a type or class that has `_handle`.
      Property: checkKey,
      PropertyDefinition: checkKey,
      MethodDefinition: checkKey,
      TSPropertySignature: checkKey,
      TSMethodSignature: checkKey,
      BinaryExpression(node) {
        if (node.operator === 'in' && isUndocumented(node.left.value)) report(node, node.left.value)
      },
      ImportDeclaration: (node) => checkModule(node.source),
      ExportNamedDeclaration: (node) => checkModule(node.source),
      ExportAllDeclaration: (node) => checkModule(node.source),
      ImportExpression: (node) => checkModule(node.source),
      // require(), process.getBuiltinModule(), and whatever else takes the name of a module.
      CallExpression: (node) =>
        checkModule(node.arguments[0]?.type === 'TSAsExpression' ? node.arguments[0].expression : node.arguments[0])
    }
  }
}

/** Benchmarks and tests start what the packages export, not files of `dist`. */
const noBuiltPath = {
  meta: { type: 'problem', schema: [] },
  create(context) {
    const check = (node, text) => {
      if (/(?:^|\/)packages\/[^/]+\/dist\b/.test(text))
        context.report({ node, message: 'Use an export or the bin of the package, not a path into its dist folder.' })
    }
    return {
      Literal(node) {
        if (typeof node.value === 'string') check(node, node.value)
      },
      TemplateElement: (node) => check(node, node.value.raw)
    }
  }
}

/** `sys/libc.ts` alone loads koffi, whichever way. */
const noKoffi = {
  meta: { type: 'problem', schema: [] },
  create(context) {
    return {
      Literal(node) {
        if (node.value === 'koffi') context.report({ node, message: 'Only packages/ebb/src/sys/libc.ts loads koffi.' })
      }
    }
  }
}

/** Comments end at column {@link WIDTH}, as code does (Biome sees to that, but leaves comments alone). */
const commentWidth = {
  meta: { type: 'layout', schema: [] },
  create(context) {
    return {
      Program() {
        const { sourceCode } = context
        const checked = new Set()
        for (const { loc } of sourceCode.getAllComments()) {
          for (let line = loc.start.line; line <= loc.end.line; line++) {
            if (checked.has(line) || !isTooWide(sourceCode.lines[line - 1])) continue
            checked.add(line)
            const start = { line, column: WIDTH }
            const end = { line, column: sourceCode.lines[line - 1].length }
            context.report({ loc: { start, end }, message: `Comment is wider than ${WIDTH} columns.` })
          }
        }
      }
    }
  }
}

export default {
  meta: { name: 'ebb' },
  rules: {
    'comment-width': commentWidth,
    'node-internals': nodeInternals,
    'no-built-path': noBuiltPath,
    'no-koffi': noKoffi
  }
}
