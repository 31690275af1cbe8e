using System.Collections.Frozen;

namespace Countersign.Proxy.Sql.Tree;

/// <summary>Which node types the raw grammar makes and that need no treatment of their own: their fields are walked. What is neither here, nor a statement, nor treated by the walker is unknown.</summary>
internal static class NodeTypes
{
    /// <summary>Nodes whose meaning is that of their parts.</summary>
    public static readonly FrozenSet<NodeName> Composite = new[]
    {
        NodeName.A_ArrayExpr, NodeName.A_Indices, NodeName.AccessPriv, NodeName.Alias, NodeName.AlterTableCmd, NodeName.BoolExpr, NodeName.BooleanTest,
        NodeName.CTECycleClause, NodeName.CTESearchClause, NodeName.CaseExpr, NodeName.CaseWhen, NodeName.CoalesceExpr, NodeName.CollateClause,
        NodeName.ColumnDef, NodeName.Constraint, NodeName.CreateOpClassItem, NodeName.DefElem, NodeName.FunctionParameter, NodeName.GroupingFunc,
        NodeName.GroupingSet, NodeName.IndexElem, NodeName.InferClause, NodeName.JsonAggConstructor, NodeName.JsonArgument, NodeName.JsonArrayAgg,
        NodeName.JsonArrayConstructor, NodeName.JsonArrayQueryConstructor, NodeName.JsonBehavior, NodeName.JsonFormat, NodeName.JsonFuncExpr,
        NodeName.JsonIsPredicate, NodeName.JsonKeyValue, NodeName.JsonObjectAgg, NodeName.JsonObjectConstructor, NodeName.JsonOutput,
        NodeName.JsonParseExpr, NodeName.JsonReturning, NodeName.JsonScalarExpr, NodeName.JsonSerializeExpr, NodeName.JsonTableColumn,
        NodeName.JsonTablePathSpec, NodeName.JsonValueExpr, NodeName.List, NodeName.MinMaxExpr, NodeName.MultiAssignRef, NodeName.NamedArgExpr,
        NodeName.NullTest, NodeName.ObjectWithArgs, NodeName.OnConflictClause, NodeName.PartitionBoundSpec, NodeName.PartitionCmd, NodeName.PartitionElem,
        NodeName.PartitionRangeDatum, NodeName.PartitionSpec, NodeName.PublicationObjSpec, NodeName.PublicationTable, NodeName.RangeTableFuncCol,
        NodeName.ReplicaIdentityStmt, NodeName.ResTarget, NodeName.ReturnStmt, NodeName.RowExpr, NodeName.SinglePartitionSpec, NodeName.StatsElem,
        NodeName.TriggerTransition, NodeName.VacuumRelation, NodeName.WindowDef, NodeName.XmlExpr, NodeName.XmlSerialize,
    }.ToFrozenSet();

    /// <summary>Nodes that hold nothing of interest.</summary>
    public static readonly FrozenSet<NodeName> Leaf = new[]
    {
        NodeName.A_Const, NodeName.A_Star, NodeName.BitString, NodeName.Boolean, NodeName.Float, NodeName.Integer, NodeName.MergeSupportFunc, NodeName.ParamRef,
        NodeName.RoleSpec, NodeName.SQLValueFunction, NodeName.SetToDefault, NodeName.String, NodeName.CurrentOfExpr, NodeName.IntList, NodeName.OidList,
    }.ToFrozenSet();

    /// <summary>Nodes that the walker treats one by one.</summary>
    public static readonly FrozenSet<NodeName> Treated = new[]
    {
        NodeName.A_Expr, NodeName.A_Indirection, NodeName.ColumnRef, NodeName.CommonTableExpr, NodeName.FuncCall, NodeName.IntoClause, NodeName.JoinExpr,
        NodeName.JsonTable, NodeName.LockingClause, NodeName.MergeWhenClause, NodeName.RangeFunction, NodeName.RangeSubselect, NodeName.RangeTableFunc,
        NodeName.RangeTableSample, NodeName.RangeVar, NodeName.RawStmt, NodeName.SortBy, NodeName.SubLink, NodeName.TableLikeClause, NodeName.TypeCast,
        NodeName.TypeName, NodeName.WithClause,
    }.ToFrozenSet();
}
