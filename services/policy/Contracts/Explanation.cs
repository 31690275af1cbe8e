namespace Countersign.Policy.Contracts;

/// <summary>Why a decision is what it is, and what would let the operation pass.</summary>
/// <param name="Decision">The decision itself.</param>
/// <param name="Statements">One element a top-level statement; one with index -1 for text without any.</param>
/// <param name="Suggestions">The smallest changes or requests that would let it pass, best first; empty where it passes.</param>
public sealed record Explanation(Decision Decision, IReadOnlyList<StatementExplanation> Statements, IReadOnlyList<string> Suggestions);

/// <summary>What the rules said to one statement.</summary>
/// <param name="Index">Index of the statement, or -1.</param>
/// <param name="Kinds">Its command tags.</param>
/// <param name="Outcome">What it got.</param>
/// <param name="Rules">Rules that matched, then those that nearly did, nearest first.</param>
public sealed record StatementExplanation(int Index, IReadOnlyList<string> Kinds, Outcome Outcome, IReadOnlyList<RuleTrace> Rules);

/// <summary>One rule against one statement.</summary>
/// <param name="Policy">Policy.</param>
/// <param name="Rule">Rule.</param>
/// <param name="Effect">What it says.</param>
/// <param name="Shadow">Whether it only says so.</param>
/// <param name="Matched">Whether all of its conditions hold.</param>
/// <param name="Conditions">Each condition with whether it holds.</param>
public sealed record RuleTrace(string Policy, string Rule, Outcome Effect, bool Shadow, bool Matched, IReadOnlyList<ConditionTrace> Conditions);

/// <summary>One condition.</summary>
/// <param name="Name">Key in the policy language, e.g. <c>where</c>.</param>
/// <param name="Holds">Whether it holds.</param>
/// <param name="Detail">On which facts.</param>
public sealed record ConditionTrace(string Name, bool Holds, string Detail);
